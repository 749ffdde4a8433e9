"""What a sweep has found: of each adapter, and of all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Self

from capgate.config.adapter_patterns import checkpoint_of
from capgate.gate.sweep import NO_EVIDENCE, e_bh
from capgate.gate.verdict import EXIT_CODES

SWEEP_SCHEMA_VERSION: Final = 1
"""Of `SweepResult.to_dict`; raised when a key changes its meaning or goes."""

SweepKind = Literal["REGRESSION", "ERROR", "INCONCLUSIVE", "PASS"]
"""What a sweep says of an adapter."""

_WEIGHT: Final[tuple[SweepKind, ...]] = ("REGRESSION", "ERROR", "INCONCLUSIVE", "PASS")
_FEWEST: Final = 2
"""Checkpoints of a training run that are worth showing together."""


@dataclass(frozen=True)
class WorstGroup:
    """The group of a benchmark that speaks most against an adapter; no test is made of it.

    Attributes:
        name: The group's.
        n: Questions scored.
        losses: Of these, lost.
        gains: Gained.
    """

    name: str
    n: int
    losses: int
    gains: int


@dataclass(frozen=True)
class SweptBenchmark:
    """An adapter on one benchmark.

    Attributes:
        name: The benchmark's.
        kind: Its own quick verdict's.
        advisory: Whether it never decides.
        n: Questions scored.
        losses: Of these, lost; None against a floor.
        gains: Gained; None likewise.
        drop: Accuracy lost, as a fraction; None where nothing was scored.
        interval: Its confidence interval: `low`, `high` and `level`.
        log10_e: What it adds to the adapter's e-value, as a base-10 logarithm.
        tokens: Of prompts and answers, of the adapter alone.
        worst: The group that lost most; None where none lost more than it gained.
        reasons: Of its own verdict, the decisive one first.
    """

    name: str
    kind: SweepKind
    advisory: bool
    n: int
    losses: int | None
    gains: int | None
    drop: float | None
    interval: Mapping[str, float] | None
    log10_e: float
    tokens: int
    worst: WorstGroup | None
    reasons: tuple[str, ...]

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Returns what `asdict` made plain."""
        worst = facts["worst"]
        changed = {
            "worst": None if worst is None else WorstGroup(**worst),
            "reasons": tuple(facts["reasons"]),
        }
        return cls(**{**facts, **changed})


@dataclass(frozen=True)
class Swept:
    """An adapter that was judged.

    Attributes:
        target: Its target's id.
        adapter: What it was named: its folder, or its name on the server.
        kind: What its own quick runs say, before it is judged with the others.
        log10_e: Base-10 logarithm of its e-value against "it lost nothing".
        benchmarks: How it stands on each; empty where it could not be asked.
        reasons: Why it could not be judged.
        digest: Hash of its content; `""` where this machine can't read it.
    """

    target: str
    adapter: str
    kind: SweepKind
    log10_e: float = NO_EVIDENCE
    benchmarks: tuple[SweptBenchmark, ...] = ()
    reasons: tuple[str, ...] = ()
    digest: str = ""

    @property
    def questions(self) -> int:
        """Questions scored, over all benchmarks."""
        return sum(one.n for one in self.benchmarks)

    @property
    def tokens(self) -> int:
        """Tokens of its prompts and answers."""
        return sum(one.tokens for one in self.benchmarks)

    @property
    def loudest(self) -> SweptBenchmark | None:
        """The deciding benchmark that speaks most against it; None where none was asked."""
        scored = [one for one in self.benchmarks if one.drop is not None and not one.advisory]
        return max(scored, key=lambda one: (one.log10_e, one.drop or 0.0), default=None)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Returns what `asdict` made plain; keys that are not known are left aside."""
        known = {one.name: facts[one.name] for one in fields(cls) if one.name in facts}
        changed = {
            "benchmarks": tuple(map(SweptBenchmark.from_dict, facts["benchmarks"])),
            "reasons": tuple(facts["reasons"]),
        }
        return cls(**{**known, **changed})


@dataclass(frozen=True)
class Row:
    """An adapter's place in a sweep's result.

    Attributes:
        swept: The adapter.
        kind: What the sweep says of it.
        lost_on: Benchmarks whose own evidence would suffice, where it lost.
    """

    swept: Swept
    kind: SweepKind
    lost_on: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """The checkpoints of one training run.

    Attributes:
        name: The run's folder.
        rows: Its checkpoints, by step.
        first_lost: The first of them that lost; None where none did.
    """

    name: str
    rows: tuple[Row, ...]
    first_lost: Row | None


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep has found.

    Attributes:
        run: The sweep's id.
        base: The base's id.
        benchmarks: What was asked.
        adapters: How many adapters the sweep has.
        level: `sweep_fdr`.
        needed: Base-10 logarithm of the e-value that suffices, given how many lost.
        rows: The adapters that were judged: those that lost first, of equals the one with the
            larger drop.
        waiting: The others.
        fault: What ended the sweep before its end; `""` where nothing did.
        base_questions: Questions that the base answered.
        base_tokens: Tokens of the base's prompts and answers.
        on_inconclusive: Whether adapters of which nothing can be said fail the sweep.
    """

    run: str
    base: str
    benchmarks: tuple[str, ...]
    adapters: int
    level: float
    needed: float
    rows: tuple[Row, ...]
    waiting: tuple[str, ...]
    fault: str
    base_questions: int
    base_tokens: int
    on_inconclusive: Literal["fail", "pass"]

    @property
    def lost(self) -> tuple[Row, ...]:
        """The adapters that lost capability."""
        return tuple(row for row in self.rows if row.kind == "REGRESSION")

    def count(self, kind: SweepKind) -> int:
        """How many adapters the sweep says this of."""
        return sum(row.kind == kind for row in self.rows)

    @property
    def exit_code(self) -> int:
        """1 where an adapter lost; 11 where one could not be judged, 10 where nothing is known."""
        if self.lost:
            return EXIT_CODES["REGRESSION"]
        if self.waiting or self.fault or self.count("ERROR"):
            return EXIT_CODES["ERROR"]
        if self.count("INCONCLUSIVE") and self.on_inconclusive == "fail":
            return EXIT_CODES["INCONCLUSIVE"]
        return EXIT_CODES["PASS"]

    @property
    def trainings(self) -> tuple[Training, ...]:
        """The training runs of which several checkpoints were judged, by name."""
        found: dict[str, list[tuple[int, Row]]] = {}
        for row in self.rows:
            checkpoint = checkpoint_of(row.swept.adapter)
            if checkpoint is not None:
                found.setdefault(checkpoint.training, []).append((checkpoint.step, row))
        made = []
        for name, steps in sorted(found.items()):
            if len(steps) >= _FEWEST:
                rows = tuple(row for _, row in sorted(steps, key=lambda one: one[0]))
                first = next((row for row in rows if row.kind == "REGRESSION"), None)
                made.append(Training(name, rows, first))
        return tuple(made)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON: every key always present, every float finite."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            "schema": SWEEP_SCHEMA_VERSION,
            **own,
            "benchmarks": list(self.benchmarks),
            "waiting": list(self.waiting),
            "exit_code": self.exit_code,
            "rows": [
                {
                    **asdict(row.swept),
                    "kind": row.kind,
                    "own_kind": row.swept.kind,
                    "lost_on": list(row.lost_on),
                    "questions": row.swept.questions,
                    "tokens": row.swept.tokens,
                }
                for row in self.rows
            ],
            "trainings": [
                {
                    "name": one.name,
                    "checkpoints": [row.swept.target for row in one.rows],
                    "first_lost": one.first_lost and one.first_lost.swept.target,
                }
                for one in self.trainings
            ],
        }


def rank(swept: Sequence[Swept], adapters: int, level: float) -> tuple[tuple[Row, ...], float]:
    """Says of each adapter what the sweep says of it, by e-BH over all of them.

    Args:
        swept: Those that were judged.
        adapters: How many the sweep has; the others have no evidence against them.
        level: The false discovery rate to keep.

    Returns:
        Their rows, in the order of `SweepResult.rows`, and the e-value that suffices, as a base-10
        logarithm.
    """
    others = [NO_EVIDENCE] * (adapters - len(swept))
    found = e_bh([*(one.log10_e for one in swept), *others], level)
    rows = [_row(one, lost, found.needed) for one, lost in zip(swept, found.lost, strict=False)]
    return tuple(sorted(rows, key=_order)), found.needed


def _row(one: Swept, lost: bool, needed: float) -> Row:
    if not lost:
        # Alone it would have sufficed only where it does so among all.
        return Row(one, "INCONCLUSIVE" if one.kind == "REGRESSION" else one.kind, ())
    return Row(
        one,
        "REGRESSION",
        tuple(part.name for part in one.benchmarks if part.log10_e >= needed - 1e-9),
    )


def _order(row: Row) -> tuple[int, float, str]:
    loudest = row.swept.loudest
    drop = loudest.drop if loudest is not None and loudest.drop is not None else 0.0
    return _WEIGHT.index(row.kind), -drop, row.swept.adapter
