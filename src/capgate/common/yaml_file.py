"""YAML files that people write: read strictly, every fault explained in their terms."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from capgate.common import bounded_yaml
from capgate.common.errors import ConfigError, FileFault
from capgate.common.secret_forms import holds_token, looks_secret, without_tokens

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_variable(name: object) -> bool:
    """Whether `name` may be an environment variable's, and is not a key in its place."""
    if not isinstance(name, str) or not _ENV_NAME.fullmatch(name) or holds_token(name):
        return False
    if len(name) < 16:
        return True
    # A long name is made of words in capitals; a key is one jumble of letters and figures.
    words = name == name.upper() and ("_" in name or not re.search(r"\d", name))
    return words or (len(name) < 20 and not re.fullmatch(r"[0-9A-Fa-f]+", name))


def read_yaml_mapping(path: Path, *, what: str) -> dict[Any, Any]:
    """Reads a YAML file whose top is a mapping.

    Args:
        path: The file.
        what: What it should hold, for the message.

    Raises:
        ConfigError: It is missing, unreadable, not YAML, not a mapping, or too large.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(bounded_yaml.FILE_BYTES + 1)
        text = raw.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; it should hold {what}",
            remedy="run from the project's root or name the file",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read", said=str(error)) from None
    if len(raw) > bounded_yaml.FILE_BYTES:
        raise ConfigError(
            f"{path} is larger than {bounded_yaml.FILE_BYTES >> 20} MiB; it should hold {what}",
            remedy="name the right file, or divide it",
        )
    try:
        loaded = bounded_yaml.load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
        raise ConfigError(
            f"{path} is not valid YAML",
            faults=[FileFault(line, without_tokens(error.problem or str(error)))],
            remedy="correct the file there",
        ) from None
    except (yaml.YAMLError, TypeError) as error:
        raise ConfigError(f"{path} is not valid YAML", said=without_tokens(str(error))) from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} should hold {what} as keys and values, not {_kind(loaded)}")
    return loaded


def names_in_quotes(names: Iterable[object], *, under: str = "") -> list[FileFault]:
    """The faults of names that YAML does not take for text, as it does not `3.1`, `on` or `null`.

    Args:
        names: The keys of a mapping that are names of the user's own.
        under: The place of the mapping, where it is not the whole file.
    """
    return [
        FileFault(
            f"{under}.{name}" if under else name,
            f'YAML takes this name for {name.taken}: put it in quotes, "{name}"',
        )
        for name in names
        if isinstance(name, bounded_yaml.NotText)
    ]


def explain(
    error: ValidationError,
    *,
    prefix: str,
    model: type[BaseModel],
    variants: Mapping[str, type[BaseModel]] | None = None,
) -> list[FileFault]:
    """Turns pydantic's findings into faults a person can act on.

    Args:
        error: What pydantic raised.
        prefix: Entry in which the model was read.
        model: The model that was being read, for the names of known keys.
        variants: For a tagged union inside it, each tag's model.
    """
    return [_explain_one(detail, prefix, model, variants or {}) for detail in error.errors()]


def _explain_one(
    detail: ErrorDetails,
    prefix: str,
    model: type[BaseModel],
    variants: Mapping[str, type[BaseModel]],
) -> FileFault:
    # pydantic calls a mapping's faulty key "[key]"; the key itself stands before it.
    loc = [str(part) for part in detail["loc"] if part != "[key]"]
    if len(loc) > 1 and loc[1] in variants:
        model = variants[loc[1]]
        loc = [loc[0], *loc[2:]]
    place = ".".join([prefix, *loc])
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
    return FileFault(place, f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {got}")


def literal_secrets(place: str, value: object, *, key: str = "") -> Iterator[FileFault]:
    """Finds what looks like a key or password in `value`, which stands at `place` under `key`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from literal_secrets(f"{place}.{name}", inner, key=str(name))
    elif isinstance(value, list):
        before = ""
        for index, inner in enumerate(value):
            # In a command line the value follows its flag, or an equals sign.
            flag, equals, rest = str(inner).partition("=")
            yield from literal_secrets(
                f"{place}.{index}", rest if equals else inner, key=flag if equals else before
            )
            before = flag if flag.startswith("-") else ""
    elif looks_secret(key, value):
        yield FileFault(
            place,
            "a literal secret may not stand in this file; put it into .env and name its "
            "variable with api_key_env",
        )


def _shown(key: str, value: object) -> str:
    """`value` as a message may show it: of what may hold a secret, only its kind."""
    if isinstance(value, (list, dict)):
        return _kind(value)
    return "a secret" if looks_secret(key, value) else repr(value)[:80]


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "keys and values"
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"
