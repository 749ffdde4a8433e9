"""How often a sweep over many adapters errs, and what it finds, by simulation.

    python perf/sweep_simulations.py             # some five minutes on one core
    python perf/sweep_simulations.py --quick     # a minute, for a look
    python perf/sweep_simulations.py --write     # puts the table into README.md

100 adapters share the answers of their base and the order of the questions. On a fifth of the
questions base and adapters guess, each by itself: an adapter that lost nothing differs from its
base on a tenth of them, and the base's luck is every adapter's. One that lost 2 points answers
2 % more of them wrongly, which the base has right.

Before, what is simulated is compared with the verdicts of the gate itself.

Exits with 1 if a false discovery rate is above what is stated by more than three standard errors.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gate_simulations import POLICY
from tables import publish

from capgate.common.answers import AnswerState as State
from capgate.gate import Pair, Part, Policy, SequentialGate, Verdict, benchmark_budget
from capgate.gate.orders import BATCH
from capgate.gate.race import Outcome, Reading
from capgate.gate.scale import Scale
from capgate.gate.sweep import NO_EVIDENCE, e_bh, evidence, weighted

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ADAPTERS = 100
QUESTIONS = 14_042
LIMITS = (QUESTIONS, 2_000)
SURE_RIGHT, SURE_WRONG = 0.6, 0.2
SCENARIOS = ((0, 0.0), (5, 0.02), (5, 0.05), (30, 0.02), (30, 0.05))
"""How many adapters lost something, and what."""
RULES = ("5 % each", "Bonferroni", "e-BH")

_CHECKED = 2
"""Sweeps in which the gate itself judges."""
_CLOSE = 1e-4
"""How far single precision may be from the gate, in a base-10 logarithm."""


class Paths(NamedTuple):
    """What quick runs of many adapters say after each batch, until each ends by itself.

    Attributes:
        harm: Base-10 logarithm of the weighted e-value, shape `(sweeps, adapters, batches)`; after
            the end its last value, and `NO_EVIDENCE` where it passes.
        ended: The batch after which it ended by itself, shape `(sweeps, adapters)`.
        outcome: The `Outcome`, same shape.
    """

    harm: Floats
    ended: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Cell:
    """How one rule fares in one scenario.

    Attributes:
        rule: Its name.
        lost: How many adapters lost something.
        points: What each of them lost, as a fraction.
        limit: Most questions for each adapter.
        fdr: Share of unchanged adapters among those named, on average; the share of sweeps that
            name any where none lost.
        spread: Standard deviation of that share over the sweeps.
        alarms: Unchanged adapters named, on average.
        power: Share of the others that are named; None where there is none.
        questions: Questions for each adapter, on average.
        sweeps: How many were simulated.
    """

    rule: str
    lost: int
    points: float
    limit: int
    fdr: float
    spread: float
    alarms: float
    power: float | None
    questions: float
    sweeps: int

    @property
    def holds(self) -> bool:
        """Whether e-BH keeps its rate, allowing for the simulation's own error."""
        error = max(self.spread, sqrt(POLICY.sweep_fdr * 0.95)) / sqrt(self.sweeps)
        return self.rule != "e-BH" or self.fdr <= POLICY.sweep_fdr + 3 * error


def values(drops: Floats, sweeps: int, rng: np.random.Generator) -> Floats:
    """Draws the next batch: +1 lost, −1 gained, else 0; shape `(sweeps, adapters, BATCH)`."""
    kind = rng.random((sweeps, 1, BATCH), dtype=np.float32)
    lucky = rng.random((sweeps, 1, BATCH), dtype=np.float32) < 0.5
    mine = rng.random((sweeps, len(drops), BATCH), dtype=np.float32)
    sure, guessed = kind < SURE_RIGHT, kind >= SURE_RIGHT + SURE_WRONG
    spoiled = sure & (mine < drops[None, :, None] / SURE_RIGHT)
    right = mine < 0.5
    lost = spoiled | (guessed & lucky & ~right)
    gained = guessed & ~lucky & right
    return lost.astype(float) - gained


def paths(policy: Policy, drops: Floats, sweeps: int, seed: int) -> Paths:
    """Follows the quick rule for each adapter of many sweeps, to its own end."""
    rng = np.random.default_rng(seed)
    budget = benchmark_budget(policy, 1, quick=True)._replace(unparsed=0.0)
    together = sweeps * len(drops)
    reading = Reading(Scale.paired(), policy, budget, orders=together)
    running = np.arange(together)
    batches = -(-QUESTIONS // BATCH)
    harm = np.full((together, batches), np.nan, dtype=np.float32)
    ended = np.full(together, batches, dtype=np.int64)
    outcome = np.zeros(together, dtype=np.int8)
    for at in range(batches):
        drawn = values(drops, sweeps, rng).reshape(together, BATCH)[running]
        reading.update(drawn, np.zeros_like(drawn))
        harm[running, at] = reading.harm.log_now / np.log(10.0)
        first, going_on = reading.first, reading.first == Outcome.UNDECIDED
        outcome[running], ended[running[~going_on]] = first, at + 1
        if not going_on.any():
            break
        if not going_on.all():
            running = running[going_on]
            reading.keep(going_on)
    shape = (sweeps, len(drops))
    weight = weighted(0.0, budget, policy)
    return Paths(
        (harm + weight).reshape(*shape, batches), ended.reshape(shape), outcome.reshape(shape)
    )


def swept(found: Paths, level: float, batches: int) -> Flags:
    """Says who lost by e-BH, as `capgate sweep` does; shape `(sweeps, adapters)`."""
    at = np.minimum(found.ended, batches) - 1
    logs = np.take_along_axis(found.harm, at[..., None], axis=2)[..., 0]
    logs[(found.outcome == Outcome.HARMLESS) & (found.ended <= batches)] = NO_EVIDENCE
    return np.array([e_bh(one.tolist(), level).lost for one in logs])


def check(policy: Policy, seed: int) -> None:
    """Compares what is simulated with the verdicts of the gate itself, on some adapters.

    Raises:
        AssertionError: They differ.
    """
    drops = np.array([0.0, 0.0, 0.02, 0.05])
    found, rng = paths(policy, drops, _CHECKED, seed), np.random.default_rng(seed)
    budget = benchmark_budget(policy, 1, quick=True)._replace(unparsed=0.0)
    gates = {
        one: SequentialGate(policy, population=QUESTIONS, budget=budget)
        for one in np.ndindex(found.ended.shape)
    }
    verdicts: dict[tuple[int, ...], Verdict] = {}
    for at in range(found.harm.shape[2]):
        drawn = values(drops, _CHECKED, rng)
        for one, gate in gates.items():
            if one not in verdicts:
                rows = [_pair(f"{at} {n}", value) for n, value in enumerate(drawn[one])]
                if verdict := gate.update(rows[: QUESTIONS - at * BATCH]):
                    verdicts[one] = verdict
    lost = swept(found, policy.sweep_fdr, found.harm.shape[2])
    for sweep in range(_CHECKED):
        mine = [verdicts[sweep, adapter] for adapter in range(len(drops))]
        logs = [evidence([Part("mmlu", one)], policy) for one in mine]
        assert e_bh(logs, policy.sweep_fdr).lost == tuple(lost[sweep])
        for adapter, verdict in enumerate(mine):
            at = found.ended[sweep, adapter] - 1
            assert verdict.counts is not None
            assert -(-verdict.counts.n // BATCH) - 1 == at
            if verdict.kind != "PASS":
                assert abs(logs[adapter] - found.harm[sweep, adapter, at]) < _CLOSE


def _pair(question: str, value: float) -> Pair:
    right = (value >= 0.0, value <= 0.0)
    states = (State.CORRECT if one else State.WRONG for one in right)
    return Pair(question, "all", *states)


def cells(lost: int, points: float, *, sweeps: int, seed: int) -> Iterator[Cell]:
    """Runs one scenario by every rule, at every limit."""
    drops = np.zeros(ADAPTERS)
    # Those that lost lie among the others, as they would in a list of files.
    drops[np.random.default_rng(seed).permutation(ADAPTERS)[:lost]] = points
    alone = paths(POLICY, drops, sweeps, seed)
    shared = paths(POLICY.for_sweep(ADAPTERS), drops, sweeps, seed)
    for limit in LIMITS:
        batches = limit // BATCH if limit < QUESTIONS else alone.harm.shape[2]
        for rule in RULES:
            if rule == "e-BH":
                by, named = shared, swept(shared, POLICY.sweep_fdr, batches)
            else:
                by = alone if rule == RULES[0] else shared
                named = (by.outcome == Outcome.HARM) & (by.ended <= batches)
            asked = np.minimum(by.ended, batches)
            wrong = (named & (drops == 0.0)).sum(axis=1)
            share = wrong / np.maximum(named.sum(axis=1), 1)
            yield Cell(
                rule,
                lost,
                points,
                limit,
                float(share.mean()),
                float(share.std()),
                float(wrong.mean()),
                float(named[:, drops > 0.0].mean()) if lost else None,
                float(np.minimum(asked * BATCH, limit).mean()),
                sweeps,
            )


def lines(found: Sequence[Cell]) -> Iterator[str]:
    """Yields the lines of the table, the rules side by side."""
    yield (
        "| lost | at most | "
        + " | ".join(f"{rule}: FDR | false alarms | found | questions" for rule in RULES)
        + " |"
    )
    yield "|---|---:|" + "---:|" * (4 * len(RULES))
    for at in range(0, len(found), len(RULES)):
        row = found[at : at + len(RULES)]
        first = row[0]
        what = f"{first.lost} of {ADAPTERS}, {100 * first.points:g} points each"
        shown = " | ".join(
            f"{_stated(one)} | {one.alarms:.2f} | "
            f"{'' if one.power is None else f'{one.power:.1%}'} | {one.questions:,.0f}"
            for one in row
        )
        yield f"| {what if first.lost else 'none'} | {first.limit:,} | {shown} |"


def _stated(cell: Cell) -> str:
    text = f"{cell.fdr:.1%}"
    if cell.rule != "e-BH":
        return text
    return f"**{text}**" if cell.holds else f"**{text} above**"


def main() -> int:
    """Simulates and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sweeps, for a look")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--seed", type=int, default=30_000)
    args = parser.parse_args()
    started = time.monotonic()
    check(POLICY.for_sweep(ADAPTERS), args.seed)
    found = [
        cell
        for at, (lost, points) in enumerate(SCENARIOS)
        for cell in cells(lost, points, sweeps=20 if args.quick else 200, seed=args.seed + at)
    ]
    text = "\n".join(lines(found))
    print(text)
    if args.write:
        publish("sweeps", text)
    above = [cell for cell in found if not cell.holds]
    print(f"{len(found)} cells in {time.monotonic() - started:.0f} s, {len(above)} above the rate")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
