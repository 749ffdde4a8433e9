"""What pydantic found wrong in a file, told as faults that a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from capgate.common.errors import FileFault, FileFaultKind
from capgate.common.secret_forms import looks_secret

WEAKENED: Final = "weakened"
"""The type of a pydantic error of our own: a bar was made weaker without a reason."""

_NO_VARIANTS: Final[Mapping[str, type[BaseModel]]] = {}


def explain(
    error: ValidationError,
    *,
    model: type[BaseModel],
    prefix: str = "",
    entries: Mapping[str, type[BaseModel]] = _NO_VARIANTS,
    variants: Mapping[str, type[BaseModel]] = _NO_VARIANTS,
) -> list[FileFault]:
    """Returns the faults of a file that a person writes.

    Args:
        error: What pydantic raised.
        model: The model that was being read, for the names of known keys.
        prefix: Entry in which the model was read; `""` for the whole file.
        entries: Key of a mapping inside the model to the model of each of its entries.
        variants: Tag of a tagged union inside the model to the model that has it.
    """
    return [_explain_one(one, prefix, model, entries, variants) for one in error.errors()]


def data_faults(error: ValidationError) -> list[FileFault]:
    """Returns the faults of a file that capgate writes, without the values that stand in it."""
    return [
        FileFault(".".join(map(str, one["loc"])) or "file", one["msg"])
        for one in error.errors(include_url=False, include_input=False)
    ]


def _explain_one(
    detail: ErrorDetails,
    prefix: str,
    model: type[BaseModel],
    entries: Mapping[str, type[BaseModel]],
    variants: Mapping[str, type[BaseModel]],
) -> FileFault:
    # pydantic calls a mapping's faulty key "[key]"; the key itself stands before it.
    loc = [str(part) for part in detail["loc"] if part != "[key]"]
    if len(loc) > 1 and loc[1] in variants:
        model = variants[loc[1]]
        loc = [loc[0], *loc[2:]]
    elif len(loc) > 2 and loc[0] in entries:
        model = entries[loc[0]]
    place = ".".join(filter(None, [prefix, *loc])) or "file"
    if detail["type"] == "extra_forbidden":
        known = [name for name in model.model_fields if name != "id"]
        near = difflib.get_close_matches(loc[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return FileFault(place, f"unknown key; {hint}")
    if detail["type"] == "value_error":
        return FileFault(place, str(detail["ctx"]["error"]))
    if detail["type"].startswith("union_tag"):
        return FileFault(f"{place}.engine", f"expected {' or '.join(variants)}")
    if detail["type"] == "missing":
        return FileFault(place, "is missing")
    got = _shown(loc[-1] if loc else "", detail["input"])
    if detail["type"] == "string_type" and not isinstance(detail["input"], list | dict | None):
        said = str(detail["input"]).lower() if got != "a secret" else got
        return FileFault(place, f"expected a text, got {said[:80]}: put it in quotes")
    if detail["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return FileFault(place, f"expected keys and values, got {got}")
    said = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
    # A finding of our own, which has no page of pydantic's, says all there is to say.
    kind: FileFaultKind = "weakened" if detail["type"] == WEAKENED else "faulty"
    return FileFault(place, f"{said}, got {got}" if "url" in detail else said, kind)


def _shown(key: str, value: object) -> str:
    """`value` as a message may show it: of what may hold a secret, only its kind."""
    if isinstance(value, (list, dict)):
        return kind_of(value)
    return "a secret" if looks_secret(key, value) else repr(value)[:80]


def kind_of(value: object) -> str:
    """What a plain value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "keys and values"
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"
