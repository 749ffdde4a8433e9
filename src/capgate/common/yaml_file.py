"""YAML files that people write: read strictly, every fault explained in their terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from capgate.common import bounded_yaml
from capgate.common.errors import ConfigError, FileFault
from capgate.common.secret_forms import holds_token, looks_secret, without_tokens
from capgate.common.validation import kind_of

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_ABSENT: Final = "run from the project's root or name the file"


def is_variable(name: object) -> bool:
    """Whether `name` may be an environment variable's, and is not a key in its place."""
    if not isinstance(name, str) or not _ENV_NAME.fullmatch(name) or holds_token(name):
        return False
    if len(name) < 16:
        return True
    # A long name is made of words in capitals; a key is one jumble of letters and figures.
    words = name == name.upper() and ("_" in name or not re.search(r"\d", name))
    return words or (len(name) < 20 and not re.fullmatch(r"[0-9A-Fa-f]+", name))


def read_yaml_mapping(path: Path, *, what: str, absent: str = _ABSENT) -> dict[Any, Any]:
    """Reads a YAML file whose top is a mapping.

    Args:
        path: The file.
        what: What it should hold, for the message.
        absent: The remedy for a file that does not exist.

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
            remedy=absent,
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
        raise ConfigError(f"{path} should hold {what} as keys and values, not {kind_of(loaded)}")
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
