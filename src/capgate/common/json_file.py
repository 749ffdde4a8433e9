"""JSON files of others, read so that their form can't end a program.

A file can be nested a hundred thousand deep, hold a number of a million digits, or be of any
size. pydantic's parser refuses the first two with a `ValueError`, as it does all broken JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

FILE_BYTES: Final = 16 << 20
"""Bytes of the largest file that is read, unless its reader says otherwise."""

REPORT_BYTES: Final = 512 << 20
"""Bytes of the largest report of a run; one of all of MMLU lost has some tens of MiB."""


def read_json(path: Path, *, most: int = FILE_BYTES) -> Any:  # noqa: ANN401 (any plain value)
    """Reads a file of JSON.

    Args:
        path: The file.
        most: Bytes of the largest one.

    Raises:
        OSError: It can't be read.
        ValueError: It is no JSON, too large, nested too deep, or no UTF-8; says which.
    """
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB")
    return parse_json(raw)


def parse_json(raw: bytes | str) -> Any:  # noqa: ANN401 (any plain value)
    """The value of a JSON text.

    Raises:
        ValueError: It is no JSON, or nested too deep.
    """
    try:
        return from_json(raw)
    except ValueError as error:
        if "recursion limit" in str(error):
            raise ValueError("it is nested too deep") from None
        raise
