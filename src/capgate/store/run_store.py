"""The part of the store that holds runs, and how their shards ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from capgate.common.errors import StoreError
from capgate.store.answer_rows import COUNTS_NOWHERE
from capgate.store.kept_store import KeptStore
from capgate.store.opened import facts_of
from capgate.store.shard import Shard, ShardKind
from capgate.store.tables import TABLE

_MARKS: Final = 8
"""How many processes of a run may show that it goes on; further ones rely on these."""


@dataclass(frozen=True, slots=True)
class AskedSoFar:
    """What a run has asked a target in a benchmark up to now.

    Attributes:
        target: The target's id.
        benchmark: The benchmark's name.
        questions: Questions that were put or found in the store.
        answered: Of them, those with an answer and not a fault.
        newest: When the newest answer came, Unix seconds; it may be an earlier run's.
    """

    target: str
    benchmark: str
    questions: int
    answered: int
    newest: float


class RunStore(KeptStore):
    """A store of answers, as far as it keeps runs.

    How a shard ended takes kilobytes of JSON, and a run may have thousands of shards: what needs
    their names alone asks for these (`ended`, `asked`, `runs_with`).
    """

    def start_run(self, run: str, settings: Mapping[str, Any]) -> None:
        """Records a run and what it was asked to do; it goes on until this store is closed."""
        with self.transaction() as db:
            db.execute(TABLE["runs"].new(), (run, time.time(), self.as_json(settings)))
        # One mark for each process, since they do not end together.
        any(self.claim_free(self._held, mark) for mark in _marks(run))

    def goes_on(self, run: str) -> bool:
        """Whether a process has started a run and is not closed or dead.

        Where the store is a folder, only processes of this machine are seen.
        """
        return any(self.is_claimed(mark) for mark in _marks(run))

    def asked_so_far(self, run: str) -> list[AskedSoFar]:
        """What a run has asked up to now, by target and benchmark."""
        rows = self.rows(
            "SELECT uses.target, uses.benchmark, COUNT(DISTINCT answers.question), "
            "COUNT(DISTINCT CASE WHEN answers.state <> 'error' THEN answers.question END), "
            "MAX(answers.created) FROM uses JOIN answers ON answers.id = uses.answer "
            "WHERE uses.run = ? AND uses.look = 'first' AND answers.set_aside < ? "
            "GROUP BY uses.target, uses.benchmark ORDER BY uses.target, uses.benchmark",
            (run, COUNTS_NOWHERE),
        )
        return [AskedSoFar(*row) for row in rows]

    def run_ids(self) -> list[str]:
        """Ids of all runs, newest first."""
        return [row[0] for row in self.rows("SELECT id FROM runs ORDER BY started DESC")]

    def runs(self) -> list[tuple[str, float, dict[str, Any]]]:
        """Id, start (Unix seconds) and settings of every run, newest first."""
        rows = self.rows("SELECT id, started, settings FROM runs ORDER BY started DESC")
        with self.reading():
            return [(run, started, facts_of(settings)) for run, started, settings in rows]

    def begun(self, run: str) -> tuple[float, dict[str, Any]]:
        """Start (Unix seconds) and settings of a run.

        Raises:
            StoreError: There is no such run.
        """
        rows = self.rows("SELECT started, settings FROM runs WHERE id = ?", (run,))
        if not rows:
            raise StoreError(f"the store {self.where} has no run {run}", remedy="name another run")
        with self.reading():
            return rows[0][0], facts_of(rows[0][1])

    def end_shard(self, run: str, target: str, shard: Shard, facts: Mapping[str, Any]) -> None:
        """Records how a shard ended; a later end of the same shard replaces it."""
        with self.transaction() as db:
            db.execute(
                TABLE["shards"].replacing(),
                (
                    run,
                    target,
                    shard.kind,
                    shard.benchmark,
                    shard.name,
                    self.as_json(facts),
                    time.time(),
                ),
            )

    def shards(self, run: str) -> dict[tuple[str, Shard], dict[str, Any]]:
        """Target and shard to how it ended, for all shards of a run."""
        rows = self.rows(
            "SELECT target, kind, benchmark, name, facts FROM shards WHERE run = ? ORDER BY at",
            (run,),
        )
        with self.reading():
            return {(row[0], Shard(*row[1:4])): facts_of(row[4]) for row in rows}

    def shards_of(self, run: str, target: str, benchmark: str) -> dict[Shard, dict[str, Any]]:
        """Shard to how it ended, for a target's shards in a benchmark of a run."""
        rows = self.rows(
            "SELECT kind, benchmark, name, facts FROM shards WHERE run = ? AND target = ? "
            "AND benchmark = ? ORDER BY at",
            (run, target, benchmark),
        )
        with self.reading():
            return {Shard(*row[:3]): facts_of(row[3]) for row in rows}

    def shard(self, run: str, target: str, shard: Shard) -> dict[str, Any] | None:
        """How a shard ended; None where it has not."""
        rows = self.rows(
            "SELECT facts FROM shards WHERE run = ? AND target = ? AND kind = ? "
            "AND benchmark = ? AND name = ?",
            (run, target, shard.kind, shard.benchmark, shard.name),
        )
        with self.reading():
            return facts_of(rows[0][0]) if rows else None

    def ended(self, run: str) -> list[tuple[str, Shard]]:
        """Target and shard of all shards of a run that ended, in that order."""
        rows = self.rows(
            "SELECT target, kind, benchmark, name FROM shards WHERE run = ? ORDER BY at", (run,)
        )
        return [(row[0], Shard(*row[1:])) for row in rows]

    def asked(self) -> list[tuple[str, str, str]]:
        """Run, target and benchmark of every entry, those of the newest run first."""
        rows = self.rows(
            "SELECT shards.run, shards.target, shards.benchmark FROM runs "
            "JOIN shards ON shards.run = runs.id WHERE shards.kind = 'entry' "
            "ORDER BY runs.started DESC, shards.run, shards.at"
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def entries(self, target: str, benchmark: str) -> list[dict[str, Any]]:
        """What runs recorded of a target before they asked it, the newest first."""
        rows = self.rows(
            "SELECT facts FROM shards WHERE target = ? AND kind = 'entry' AND benchmark = ? "
            "ORDER BY at DESC, run DESC",
            (target, benchmark),
        )
        with self.reading():
            return [facts_of(row[0]) for row in rows]

    def runs_with(self, target: str, kind: ShardKind, benchmark: str) -> list[str]:
        """The runs in which such a shard of a target ended, newest first."""
        rows = self.rows(
            "SELECT runs.id FROM runs JOIN shards ON shards.run = runs.id "
            "WHERE shards.target = ? AND shards.kind = ? AND shards.benchmark = ? "
            "AND shards.name = '' ORDER BY runs.started DESC",
            (target, kind, benchmark),
        )
        return [row[0] for row in rows]


def _marks(run: str) -> Iterator[str]:
    """The claims of which a run's processes hold one each."""
    return (f"run-{run}-{at}" for at in range(_MARKS))
