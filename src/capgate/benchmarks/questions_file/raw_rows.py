"""The rows of a file of questions as they stand there: JSON lines, a JSON list, or CSV."""

from __future__ import annotations

import csv
import json
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from capgate.benchmarks.row_files import RowFaults, json_lines, text_lines
from capgate.common.errors import DatasetError

SUFFIXES: Final = (".jsonl", ".json", ".csv")
"""How a file of questions may end."""

_CHOICES: Final = "choices"


class RawRow(NamedTuple):
    """One row before it is checked.

    Attributes:
        line: Its line, or in a JSON list its number; counted from 1.
        value: What stands there.
        is_text: Whether all its values are texts, since the form has no numbers.
    """

    line: int
    value: object
    is_text: bool


def fault_list(path: Path) -> RowFaults:
    """An empty list of faults, whose rows are called as they are counted in `path`."""
    return RowFaults("item" if path.suffix.lower() == ".json" else "line")


def raw_rows(path: Path, faults: RowFaults) -> Iterator[RawRow]:
    """The rows of a file, in order.

    Args:
        path: The file; its suffix tells the form.
        faults: Gets what can't be read.

    Raises:
        DatasetError: The suffix is unknown, or the file is no list of rows at all.
        OSError: The file can't be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        for _, line, value in json_lines(path, faults):
            yield RawRow(line, value, is_text=False)
    elif suffix == ".json":
        for number, value in enumerate(_json_list(path), start=1):
            yield RawRow(number, value, is_text=False)
    elif suffix == ".csv":
        yield from _csv(path, faults)
    else:
        raise DatasetError(
            f"{path} is no file of questions that capgate can read",
            remedy=f"name a file that ends with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
        )


def _json_list(path: Path) -> list[object]:
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        said = f"not UTF-8 ({error.reason} at byte {error.start})"
        raise DatasetError(f"{path} can't be read as JSON: {said}") from None
    except json.JSONDecodeError as error:
        said = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise DatasetError(f"{path} can't be read as JSON: {said}") from None
    except (ValueError, RecursionError):
        said = "a number of thousands of digits, or nested too deep"
        raise DatasetError(f"{path} can't be read as JSON: {said}") from None
    if not isinstance(value, list):
        raise DatasetError(
            f"{path} holds no list of questions but {type(value).__name__}",
            remedy="write a list of objects, or one object a line in a file that ends with .jsonl",
        )
    return value


def _csv(path: Path, faults: RowFaults) -> Iterator[RawRow]:
    reader = csv.reader((text for _, text in text_lines(path, faults)), strict=True)
    header: list[str] | None = None
    # A field may hold line breaks: a row's place is the line on which it begins.
    begins = 1
    try:
        for row in reader:
            line, begins = begins, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [name.strip() for name in row]
                if twice := next((name for name in header if header.count(name) > 1), None):
                    faults.add(path, line, f"the column {twice!r} stands there twice")
                    return
            elif len(row) != len(header):
                faults.add(path, line, f"expected {len(header)} fields, got {len(row)}")
            else:
                named = dict(zip(header, row, strict=True))
                yield RawRow(line, _of_columns(named, path, line, faults), is_text=True)
    except csv.Error as error:
        faults.add(path, reader.line_num, str(error))


def _of_columns(
    row: Mapping[str, str], path: Path, line: int, faults: RowFaults
) -> dict[str, Any] | None:
    """A row of a CSV with its choices in one list; None where these can't be read.

    Choices stand in columns that are called A, B, C …, the last of which may be empty, or as a
    JSON list in the column `choices`.
    """
    lettered = [name for name in row if len(name) == 1 and name in string.ascii_uppercase]
    made: dict[str, Any] = {key: cell for key, cell in row.items() if cell and key not in lettered}
    if lettered:
        cells = [row[name] for name in sorted(lettered)]
        while cells and not cells[-1].strip():
            del cells[-1]
        if _CHOICES in made:
            faults.add(path, line, "choices stand in columns of their own and in `choices`")
            return None
        if cells:
            made[_CHOICES] = cells
    elif _CHOICES in made:
        try:
            made[_CHOICES] = json.loads(made[_CHOICES])
        except (ValueError, RecursionError):
            faults.add(path, line, 'choices should be a JSON list such as ["red", "green"]')
            return None
    return made
