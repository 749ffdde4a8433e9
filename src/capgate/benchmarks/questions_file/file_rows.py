"""All questions of a file, checked one by one and beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from capgate.benchmarks.questions_file.checked_rows import LETTERS, FileRow, checked_row
from capgate.benchmarks.questions_file.raw_rows import fault_list, raw_rows
from capgate.benchmarks.row_files import RowFaults
from capgate.common.errors import DatasetError

FEWEST: Final = 5
"""Fewer questions can show no loss: even if all are lost, the exact one-sided test of McNemar has
p = 0.5^4 > 0.05."""

_NUMBER: Final = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?")


@dataclass(frozen=True)
class FileQuestions:
    """The questions of one file.

    Attributes:
        rows: Each once, in the file's order.
        repeats: Place of each repeated row that was left out, to that of the same question.
        unit: What a place counts: `line` or `item`.
    """

    rows: tuple[FileRow, ...]
    repeats: dict[int, int]
    unit: str

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups in alphabetical order; empty where there are none."""
        return tuple(sorted({row.group for row in self.rows} - {""}))

    @property
    def is_choice(self) -> bool:
        """Whether the questions have choices."""
        return bool(self.rows[0].choices)

    @cached_property
    def letters(self) -> str:
        """The letters of the question with the most choices; `""` for free text."""
        return LETTERS[: max(len(row.choices) for row in self.rows)]

    @cached_property
    def is_numeric(self) -> bool:
        """Whether every right answer is a number."""
        return all(_NUMBER.fullmatch(one.strip()) for row in self.rows for one in row.targets)

    @property
    def told(self) -> str:
        """What a person should know of the repeated rows; `""` where there are none."""
        if not self.repeats:
            return ""
        shown = [f"{self.unit} {at} (as {first})" for at, first in self.repeats.items()][:5]
        if (more := len(self.repeats) - len(shown)) > 0:
            shown.append(f"{more:,} more")
        return f"repeated questions are asked once: left out {', '.join(shown)}"


def read_questions_file(path: Path, group_key: str) -> FileQuestions:
    """Reads a file of questions; once per process as long as it is not written.

    Args:
        path: A file of JSON lines, a JSON list, or a CSV with a header.
        group_key: Under which key a row, or its metadata, holds the group.

    Raises:
        DatasetError: It is missing, or has faults; all of them are told.
    """
    try:
        status = path.stat()
        return _read(path, group_key, (status.st_mtime_ns, status.st_size, status.st_ino))
    except FileNotFoundError:
        raise DatasetError(
            f"the file of questions {path} does not exist",
            remedy="correct `questions` in config/benchmarks.yaml, or add the file",
        ) from None
    except OSError as error:
        raise DatasetError(f"{path} can't be read", said=str(error)) from None


@lru_cache(maxsize=16)
def _read(path: Path, group_key: str, _: tuple[int, ...]) -> FileQuestions:
    faults = fault_list(path)
    checked = (checked_row(raw, path, group_key, faults) for raw in raw_rows(path, faults))
    rows = [row for row in checked if row is not None]
    unit = "item" if path.suffix.lower() == ".json" else "line"
    kept, repeats = _distinct(rows, path, faults, unit)
    for row, what in _unlike(kept, group_key, unit):
        faults.add(path, row.line, what)
    faults.raise_if_any(path)
    if len(kept) < FEWEST:
        raise DatasetError(
            f"{path} holds {len(kept)} different question{'s' if len(kept) != 1 else ''}",
            remedy=f"write at least {FEWEST}: fewer can show no loss, even if all are lost",
        )
    return FileQuestions(tuple(kept), repeats, unit)


def _distinct(
    rows: list[FileRow], path: Path, faults: RowFaults, unit: str
) -> tuple[list[FileRow], dict[int, int]]:
    """Each question once; notes those that contradict an earlier one."""
    kept: dict[object, FileRow] = {}
    ids: dict[str, FileRow] = {}
    repeats: dict[int, int] = {}
    for row in rows:
        first = kept.setdefault(row.asked, row)
        if first is row:
            named = row if row.id is None else ids.setdefault(str(row.id), row)
            if named is not row:
                what = f"has the id {row.id!r} of the question in {unit} {named.line}"
                faults.add(path, row.line, what)
        elif row.target != first.target:
            what = f"asks what {unit} {first.line} asks, but the answer there is "
            faults.add(path, row.line, what + _and(first.targets))
        elif row.group != first.group:
            what = f"asks what {unit} {first.line} asks, in another group"
            faults.add(path, row.line, what)
        else:
            repeats[row.line] = first.line
    return list(kept.values()), repeats


def _unlike(rows: list[FileRow], group_key: str, unit: str) -> Iterator[tuple[FileRow, str]]:
    """The first question that is of another kind than the first of the file, and why."""
    if not rows:
        return
    first = rows[0]
    for row in rows:
        if bool(row.choices) != bool(first.choices):
            has = "has choices, and" if row.choices else "has no choices, but"
            yield row, f"{has} {unit} {first.line} is of the other kind: make a file of each kind"
            break
    with_group = next((row for row in rows if row.group), None)
    without = next((row for row in rows if not row.group), None)
    if with_group and without:
        what = f"has no {group_key}, but {unit} {with_group.line} has one: give one to all or none"
        yield without, what


def _and(texts: tuple[str, ...]) -> str:
    return " or ".join(repr(text)[:80] for text in texts)
