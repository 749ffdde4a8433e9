"""Files of one JSON object a line, read one line at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import ConfigError, FileFault
from capgate.common.json_file import parse_json
from capgate.common.text import one_line

LONGEST_LINE: Final = 64 << 20
"""Bytes of the longest line that is read."""


def json_objects(path: Path) -> Iterator[tuple[str, dict[str, Any] | FileFault]]:
    """Yields each line's place with its object, or with what is wrong with it.

    Raises:
        ConfigError: The file can't be read.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(LONGEST_LINE + 1):
                number += 1
                place = f"{path.name}, line {number}"
                if len(raw) > LONGEST_LINE:
                    yield place, FileFault(place, f"longer than {LONGEST_LINE >> 20} MiB")
                    return
                if raw.strip():
                    yield place, _object(raw, place)
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read", said=error.strerror or str(error), remedy="check the path"
        ) from error


def _object(raw: bytes, place: str) -> dict[str, Any] | FileFault:
    try:
        found = parse_json(raw)
    except ValueError as error:
        return FileFault(place, f"not a JSON object ({one_line(str(error), limit=80)})")
    return found if isinstance(found, dict) else FileFault(place, "not a JSON object")
