"""Runs that go on now, and those that ended before their report, as their store knows them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import CapgateError
from capgate.config.store_place import StorePlace
from capgate.report.data.killed import has_results, is_killed, resume_command
from capgate.store.answer_store import Store
from capgate.store.open_store import is_there, open_store
from capgate.store.run_store import AskedSoFar
from capgate.store.runs import has_tests
from capgate.store.shard import WHOLE, Shard

_LOOKED_AT: Final = 30
"""How many of the newest runs may go on."""

_ENDED_SHOWN: Final = 5
_FRESH_SECONDS: Final = 1.0
"""For how long one look at the store is enough."""

_BETWEEN_SECONDS: Final = 8.0
"""With pytest-xdist, workers end before their controller opens the store to write the report."""

_QUIET_SECONDS: Final = 120.0
"""Of a folder, a run of another machine is known by what it writes: this long it may be silent."""


@dataclass(frozen=True, slots=True)
class TargetNow:
    """How far a run has come with a target in a benchmark.

    Attributes:
        target: The target's id.
        benchmark: The benchmark's name.
        asked: Questions that were put or found in the store.
        answered: Of them, those with an answer and not a fault.
        chosen: Questions that the whole benchmark has here; 0 where that is not known.
        quick: Whether it is a quick run, which ends as soon as it can tell.
        judged: Whether its verdict is there.
    """

    target: str
    benchmark: str
    asked: int
    answered: int
    chosen: int
    quick: bool
    judged: bool


@dataclass(frozen=True, slots=True)
class RunNow:
    """A run without results.

    Attributes:
        run: Its id.
        goes_on: Whether it still runs; else it ended before it wrote its report.
        started: ISO 8601, UTC.
        targets: How far it has come.
        command: What resumes a run that ended; `""` for one that goes on.
    """

    run: str
    goes_on: bool
    started: str
    targets: tuple[TargetNow, ...]
    command: str


@dataclass(frozen=True, slots=True)
class ProgressNow:
    """All that is going on.

    Attributes:
        runs: Runs that go on, newest first, and then those that ended before their report.
        fault: Why the store can't be read; `""` where it can.
    """

    runs: tuple[RunNow, ...] = ()
    fault: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class LiveProgress:
    """What is going on in a store; threads may share it.

    The store is opened for each look, since a folder's other machines are seen by that alone.

    Args:
        store: Where the store is; it may be missing.
        output: The folder of reports.
        clock: Unix seconds.
    """

    def __init__(
        self, store: StorePlace, output: Path, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._place = store
        self._output = output
        self._clock = clock
        self._ended: dict[str, RunNow] = {}
        self._went_on: dict[str, float] = {}
        self._looking = threading.Lock()
        self._last: tuple[float, ProgressNow] | None = None

    def now(self) -> ProgressNow:
        """How far the runs have come; a look of the last second is taken again."""
        with self._looking:
            now = self._clock()
            if self._last is None or not 0 <= now - self._last[0] < _FRESH_SECONDS:
                self._last = (now, self._look())
            return self._last[1]

    def _look(self) -> ProgressNow:
        if not is_there(self._place):
            return ProgressNow()
        try:
            with open_store(self._place) as store:
                runs = [self._run(store, run) for run in store.run_ids()[:_LOOKED_AT]]
        except CapgateError as error:
            return ProgressNow(fault=str(error))
        live = [run for run in runs if run is not None and run.goes_on]
        ended = [run for run in runs if run is not None and not run.goes_on]
        return ProgressNow((*live, *ended[:_ENDED_SHOWN]))

    def _run(self, store: Store, run: str) -> RunNow | None:
        """A run that goes on or has no results; None for all others."""
        if self._is_on(store, run):
            self._ended.pop(run, None)
            return _run_now(store, run, goes_on=True)
        killed = is_killed(store, run, self._output)
        if killed and run not in self._ended:
            # What it asked changes no more, unless it is taken up again.
            self._ended[run] = _run_now(store, run, goes_on=False)
        return self._ended[run] if killed else None

    def _is_on(self, store: Store, run: str) -> bool:
        now = self._clock()
        if store.goes_on(run):
            self._went_on[run] = now
            return True
        if 0 <= now - self._went_on.get(run, -math.inf) < _BETWEEN_SECONDS:
            return is_killed(store, run, self._output)
        return self._place.kind == "folder" and self._writes_elsewhere(store, run, now)

    def _writes_elsewhere(self, store: Store, run: str, now: float) -> bool:
        """Whether another machine has written to a folder for a run that has no results yet."""
        started, _ = store.begun(run)
        newest = max((one.newest for one in store.asked_so_far(run)), default=started)
        if now - max(newest, started) >= _QUIET_SECONDS:
            return False
        # Its reports may be in a folder of that machine's.
        return (
            not has_results(self._output / run)
            and has_tests(store, run)
            and not all(one.judged for one in _run_now(store, run, goes_on=True).targets)
        )


def _run_now(store: Store, run: str, *, goes_on: bool) -> RunNow:
    started, settings = store.begun(run)
    so_far = {(one.target, one.benchmark): one for one in store.asked_so_far(run)}
    ended = store.ended(run)
    judged = {(target, shard.benchmark) for target, shard in ended if shard.kind in WHOLE}
    entered = [(target, shard.benchmark) for target, shard in ended if shard.kind == "entry"]
    targets = tuple(
        _target_now(
            *place,
            so_far.get(place),
            store.shard(run, place[0], Shard("entry", place[1])) or {},
            judged=place in judged,
        )
        for place in dict.fromkeys([*entered, *so_far])
    )
    return RunNow(
        run=run,
        goes_on=goes_on,
        started=datetime.fromtimestamp(started, UTC)
        .isoformat(timespec="seconds")
        .replace("+00:00", "Z"),
        targets=targets,
        command="" if goes_on else resume_command(settings, store.shards(run)),
    )


def _target_now(
    target: str,
    benchmark: str,
    so_far: AskedSoFar | None,
    entry: Mapping[str, Any],
    *,
    judged: bool,
) -> TargetNow:
    return TargetNow(
        target=target,
        benchmark=benchmark,
        asked=so_far.questions if so_far else 0,
        answered=so_far.answered if so_far else 0,
        chosen=sum(dict(entry.get("selected") or {}).values()),
        quick=entry.get("mode") == "quick",
        judged=judged,
    )
