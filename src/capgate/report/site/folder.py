"""A folder of reports as `capgate open` reads it: rows of runs, sweeps, and pages to link to.

The rows come from the trend. A report that has none there, since the trend was moved away or the
folder copied, is read itself. Each file is read anew only after it has changed.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from capgate.common.errors import CapgateError
from capgate.common.json_file import read_json
from capgate.report.data.history import FILE, Entry, entries, read_history
from capgate.report.data.read import REPORT, read_report

REPORT_PAGE: Final = "report.html"
SWEEP_PAGE: Final = "sweep.html"
PAGES: Final = (REPORT_PAGE, SWEEP_PAGE)
"""What may be read of a run's folder by a browser."""

_SWEEP: Final = "sweep.json"
_PAGE_BYTES: Final = 64 << 20
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SweepLine:
    """What is told of a sweep.

    Attributes:
        run: The name of its folder.
        base: The base's id.
        adapters: How many adapters it has.
        kinds: Verdict to how many adapters have it.
        waiting: Adapters that were not judged.
        finished: When its result was written, ISO 8601, UTC.
        page: Whether its page is there.
    """

    run: str
    base: str
    adapters: int
    kinds: Mapping[str, int]
    waiting: int
    finished: str
    page: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder of reports holds.

    Attributes:
        rows: One for each run, target and benchmark, the newest run first.
        pages: The runs whose report can be opened.
        sweeps: The sweeps, newest first.
        faults: Files that can't be read, and why.
    """

    rows: tuple[Entry, ...]
    pages: frozenset[str]
    sweeps: tuple[SweepLine, ...]
    faults: tuple[str, ...]


class ReportsFolder:
    """A folder of reports; threads may share it.

    Args:
        path: The folder; it may be missing.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[Path, tuple[tuple[int, int], object]] = {}
        self._reading = threading.Lock()

    def found(self) -> Found:
        """What it holds now."""
        with self._reading:
            return self._found()

    def page(self, run: str, name: str) -> bytes | None:
        """The bytes of a run's page; None where there is none.

        Neither links nor anything but regular files are followed, and the run has to be the name
        of one of the folder's own folders.

        Args:
            run: The run's folder.
            name: One of `PAGES`.
        """
        if name not in PAGES or run not in self._runs():
            return None
        with suppress(OSError):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            within = os.open(self.path / run, flags | os.O_DIRECTORY)
            try:
                number = os.open(name, flags, dir_fd=within)
            finally:
                os.close(within)
            with os.fdopen(number, "rb") as file:
                if not stat.S_ISREG(os.fstat(number).st_mode):
                    return None
                text = file.read(_PAGE_BYTES + 1)
                return text if len(text) <= _PAGE_BYTES else None
        return None

    def _runs(self) -> list[str]:
        """Its own folders, newest first; links are left out."""
        with suppress(OSError), os.scandir(self.path) as inside:
            names = [one.name for one in inside if one.is_dir(follow_symlinks=False)]
            # A name that is no text can't stand in a URL.
            return sorted((name for name in names if name.isprintable()), reverse=True)
        return []

    def _found(self) -> Found:
        faults: list[str] = []

        def told(file: Path, read: Callable[[Path], _T], instead: _T) -> _T:
            try:
                return self._once(file, read)
            except (CapgateError, OSError, ValueError, TypeError, KeyError) as error:
                faults.append(f"{file.relative_to(self.path)}: {error}")
                return instead

        nothing: list[Entry] = []
        rows = list(told(self.path / FILE, read_history, nothing))
        known = {row.run for row in rows}
        pages, sweeps = [], []
        for run in self._runs():
            folder = self.path / run
            if _is_file(folder / REPORT_PAGE):
                pages.append(run)
            if run not in known and _is_file(folder / REPORT):
                rows += told(folder / REPORT, _own_rows, nothing)
            if _is_file(folder / _SWEEP):
                sweep = told(folder / _SWEEP, _sweep, None)
                sweeps += [] if sweep is None else [sweep]
        # Sorting keeps the order of equals: the verdict over all stands before its parts.
        rows.sort(key=lambda row: (row.finished, row.run), reverse=True)
        return Found(tuple(rows), frozenset(pages), tuple(sweeps), tuple(faults))

    def _once(self, file: Path, read: Callable[[Path], _T]) -> _T:
        """What a file holds, read anew where the file has changed."""
        if not file.exists():
            return read(file)
        now = file.stat()
        state = (now.st_mtime_ns, now.st_size)
        kept = self._kept.get(file)
        if kept is None or kept[0] != state:
            kept = self._kept[file] = (state, read(file))
        found: _T = kept[1]  # type: ignore[assignment]
        return found


def _is_file(path: Path) -> bool:
    """Whether it is a file and no link."""
    return path.is_file() and not path.is_symlink()


def _own_rows(file: Path) -> list[Entry]:
    return entries(read_report(file))


def _sweep(file: Path) -> SweepLine:
    raw: Any = read_json(file)
    kinds: dict[str, int] = {}
    for row in raw["rows"]:
        kinds[str(row["kind"])] = kinds.get(str(row["kind"]), 0) + 1
    written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return SweepLine(
        run=file.parent.name,
        base=str(raw["base"]),
        adapters=int(raw["adapters"]),
        kinds=kinds,
        waiting=len(raw["waiting"]),
        finished=written.isoformat(timespec="seconds").replace("+00:00", "Z"),
        page=_is_file(file.with_name(SWEEP_PAGE)),
    )
