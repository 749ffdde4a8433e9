"""Files of one question a row: their lines, and all of their faults at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from capgate.common.errors import DatasetError

_SHOWN_FAULTS = 20


class RowFaults:
    """Collects the malformed rows of a data set, to report them all at once.

    Args:
        unit: What the rows are called in messages.
    """

    def __init__(self, unit: str = "line") -> None:
        self.lines: list[str] = []
        self._rows: set[tuple[Path, int]] = set()
        self._unit = unit

    def add(self, path: Path, line: int, what: str) -> None:
        """Notes one fault of row `line` (counted from 1) of `path`."""
        self.lines.append(f"  {path}, {self._unit} {line}: {what}")
        self._rows.add((path, line))

    def raise_if_any(self, source: Path) -> None:
        """Raises a `DatasetError` that lists the faults, where there are any.

        Args:
            source: The folder or file that the rows come from.
        """
        if not self.lines:
            return
        shown = self.lines[:_SHOWN_FAULTS]
        if len(self.lines) > len(shown):
            shown.append(f"  … and {len(self.lines) - len(shown)} more")
        raise DatasetError(
            f"{source} has {len(self._rows)} malformed row{'s' if len(self._rows) > 1 else ''}",
            remedy="correct them:\n" + "\n".join(shown),
        )


def text_lines(path: Path, faults: RowFaults) -> Iterator[tuple[int, str]]:
    """Each line's number and text, without the mark that some programs begin a file with."""
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                faults.add(path, number, f"not UTF-8 ({error.reason} at byte {error.start})")
                text = raw.decode("utf-8", "replace")
            yield number, text


def json_lines(path: Path, faults: RowFaults) -> Iterator[tuple[Path, int, object]]:
    """Each row of a file of JSON lines with its place; empty lines are left out."""
    for number, text in text_lines(path, faults):
        if not text.strip():
            continue
        try:
            yield path, number, json.loads(text)
        except json.JSONDecodeError as error:
            faults.add(path, number, f"not JSON ({error.msg} at column {error.colno})")
        except (ValueError, RecursionError):
            faults.add(path, number, "a number of thousands of digits, or nested too deep")


def shown_value(value: object) -> str:
    """A value as a fault names it."""
    return type(value).__name__ if isinstance(value, (list, dict)) else repr(value)[:80]


def is_encodable(text: str) -> bool:
    """Whether a text holds whole characters alone, so that a file or request can have it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
