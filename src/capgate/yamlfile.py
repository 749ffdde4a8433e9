"""YAML files that people write: read strictly, every fault explained in their terms."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from capgate.errors import ConfigError, FileFault

ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_SECRET_KEY = re.compile(
    r"(^|[_-])(api_?key|key|password|passwd|secret|token|authorization)$", re.I
)
_SECRET_VALUE = re.compile(r"^(sk-|hf_|gsk_|xai-|Bearer\s|ghp_|AKIA)[A-Za-z0-9_\-.]{8,}", re.I)


class _UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, which plain YAML silently overwrites."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401
        # Checked here, before merge keys (<<) bring in keys that may well be overridden.
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return node


def read_yaml_mapping(path: Path, *, what: str) -> dict[Any, Any]:
    """Reads a YAML file whose top is a mapping.

    Args:
        path: The file.
        what: What it should hold, for the message.

    Raises:
        ConfigError: It is missing, unreadable, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; it should hold {what}",
            remedy="run from the project's root or name the file",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read", said=str(error)) from None
    try:
        loaded = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
        raise ConfigError(
            f"{path} is not valid YAML",
            faults=[FileFault(line, error.problem or str(error))],
            remedy="mend the indentation or quoting there",
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML", said=str(error)) from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} should hold {what} as keys and values, not {_kind(loaded)}")
    return loaded


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
    if detail["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return FileFault(place, f"expected keys and values, got {got}")
    return FileFault(place, f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {got}")


def literal_secrets(place: str, value: object) -> Iterator[FileFault]:
    """Finds what looks like a key or password anywhere below `place`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            where = f"{place}.{key}"
            if isinstance(inner, (dict, list)):
                yield from literal_secrets(where, inner)
            elif _looks_secret(str(key), inner):
                yield FileFault(
                    where,
                    "a literal secret may not stand in this file; put it into .env and name its "
                    "variable with api_key_env",
                )
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from literal_secrets(f"{place}.{index}", inner)
    elif _looks_secret("", value):
        yield FileFault(place, "looks like a key; secrets belong into .env, named by api_key_env")


def _looks_secret(key: str, value: object) -> bool:
    if key == "api_key_env" and isinstance(value, str) and ENV_NAME.match(value):
        return bool(_SECRET_VALUE.match(value))
    return isinstance(value, str) and bool(_SECRET_KEY.search(key) or _SECRET_VALUE.match(value))


def _shown(key: str, value: object) -> str:
    """`value` as a message may show it: of what may hold a secret, only its kind."""
    if isinstance(value, (list, dict)):
        return _kind(value)
    return "a secret" if _looks_secret(key, value) else repr(value)[:80]


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "keys and values"
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"
