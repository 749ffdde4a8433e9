"""Files of JSON that other tools wrote: of one object, and of one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import ConfigError, FileFault
from capgate.common.json_file import REPORT_BYTES, parse_json, read_json
from capgate.common.text import one_line

LONGEST_LINE: Final = 64 << 20
"""Bytes of the longest line that is read."""


def json_report(
    path: Path, *, key: str, what: str, by: str, otherwise: str, remedy: str
) -> dict[str, Any]:
    """The object of a file that holds a run's results.

    Args:
        path: The file.
        key: What it must hold, as an object.
        what: What it should be.
        by: Who wrote it.
        otherwise: What is said of it where it holds something else, to follow its path.
        remedy: Which file to give then.

    Raises:
        ConfigError: It can't be read, or holds something else.
    """
    try:
        data = read_json(path, most=REPORT_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} can't be read as {what}",
            said=str(error),
            remedy=f"give the file as {by} wrote it",
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get(key), dict):
        raise ConfigError(f"{path} {otherwise}", remedy=remedy)
    return data


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
