"""What surrounds the gate's rules, simulated before and after each remedy.

Pairs of runs, missing answers that depend on the outcome, tries until one passes, and the luck
of a recorded baseline; `operating_characteristics.py` tabulates them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from gate_simulations import (
    MMLU_SIZES,
    POLICY,
    POOLED,
    Counts,
    Rate,
    mcnemar,
    pooled_fails,
)
from scipy import special

from capgate.gate import Budget, stats
from capgate.gate.budget import QUICK_SHARE
from capgate.gate.orders import BATCH
from capgate.gate.race import Outcome, Race
from capgate.gate.scale import Scale

MISSING = 0.0045
"""Share of the questions that end in an error; `max_error_rate` allows 0.005."""

Values = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Before:
    """How often something went wrong before and after.

    Attributes:
        before: Without the remedy; no limit applies.
        after: With it.
        undecided: Share of the runs after it that end INCONCLUSIVE.
    """

    before: Rate
    after: Rate
    undecided: float


@dataclass(frozen=True)
class Played:
    """Verdicts of many runs, `PASS` 1, `REGRESSION` −1, else 0, and the questions they took."""

    verdicts: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]


def draw(n: int, discordance: float, drop: float, *, runs: int, seed: int) -> Values:
    """Returns answers to n questions in each run: 1 lost, −1 gained, 0 alike."""
    rng = np.random.default_rng(seed)
    lost, gained = (discordance + drop) / 2, (discordance - drop) / 2
    found: Values = np.zeros((runs, n), dtype=np.int8)
    for at in range(runs):
        luck = rng.random(n, dtype=np.float32)
        found[at] = (luck < lost).astype(np.int8) - (luck >= 1 - gained)
    return found


def quick(
    values: Values, budget: Budget, *, missing: npt.NDArray[np.bool_] | None = None
) -> Played:
    """Follows the sequential rule on the answers of each run in their order."""
    runs, n = values.shape
    race = Race(Scale.paired(), POLICY, budget, population=n, orders=runs)
    for start in range(0, n, BATCH):
        running = race.running
        if not len(running):
            break
        part = values[running, start : start + BATCH].astype(float)
        scored = np.ones(part.shape, dtype=bool)
        if missing is not None:
            scored = ~missing[running, start : start + BATCH]
        race.update(part, np.zeros(part.shape), scored)
    passed, failed = race.outcome == Outcome.HARMLESS, race.outcome == Outcome.HARM
    return Played(passed.astype(np.int64) - failed, race.asked)


def full(losses: Counts, gains: Counts, n: int, *, false_alarm: float, miss: float) -> Counts:
    """Applies the pooled fixed rule at error shares of its own."""
    score = stats.tango_score(losses, gains, n, POLICY.catch, continuity=stats.HALF_A_QUESTION)
    refuted = special.ndtr(score) <= miss
    above = (losses - gains) / n > (POLICY.tolerate + POLICY.catch) / 2
    fails = (mcnemar(losses, gains) <= false_alarm) & (~refuted | above)
    verdicts: Counts = (refuted & ~fails).astype(np.int64) - fails
    return verdicts


def counts(values: Values) -> tuple[Counts, Counts]:
    """Returns losses and gains of each run."""
    return (values == 1).sum(axis=1), (values == -1).sum(axis=1)


def pair(values: Values, quick_share: float, full_share: float) -> Played:
    """Makes a quick run and, where that is undecided, judges all of its questions together."""
    losses, gains = counts(values)
    alpha, miss, n = POOLED.pooled, POLICY.miss, values.shape[1]
    whole = full(losses, gains, n, false_alarm=full_share * alpha, miss=full_share * miss)
    if not quick_share:
        return Played(whole, np.full(len(values), n))
    budget = POOLED._replace(pooled=quick_share * alpha, miss_share=quick_share)
    first = quick(values, budget)
    return Played(np.where(first.verdicts == 0, whole, first.verdicts), first.asked)


def pairs(n: int, discordance: float, drop: float, *, runs: int, seed: int) -> tuple[Before, float]:
    """Compares a pair that pays twice its shares with one that pays for them once.

    Returns:
        The pairs, and how often a full run without a quick one is INCONCLUSIVE on these answers.
    """
    values = draw(n, discordance, drop, runs=runs, seed=seed)
    wrong = 1 if drop else -1
    limit = POLICY.miss if drop else POOLED.pooled
    what = f"pair, N {n}, discordance {discordance:g}, drop {drop:g}"
    ways = [pair(values, *shares) for shares in ((1.0, 1.0), (QUICK_SHARE, 1.0 - QUICK_SHARE))]
    rates = [Rate(what, float(np.mean(way.verdicts == wrong)), limit, runs) for way in ways]
    undecided = float(np.mean(ways[1].verdicts == 0))
    alone = float(np.mean(pair(values, 0.0, 1.0).verdicts == 0))
    return Before(*rates, undecided), alone


def missing(n: int, discordance: float, drop: float, *, runs: int, seed: int) -> list[Before]:
    """Compares answers left out with missing answers counted in the worst way.

    At a drop, every error falls on a question that was lost; at none, on one that was gained.

    Returns:
        Of the quick rule and of the fixed one.
    """
    values = draw(n, discordance, drop, runs=runs, seed=seed)
    wrong = 1 if drop else -1
    candidates = values == wrong
    luck = np.random.default_rng(seed + 1).random(values.shape, dtype=np.float32)
    away = candidates & (luck < MISSING / ((discordance + drop) / 2))
    limit = POLICY.miss if drop else POOLED.pooled
    what = f"missing, N {n}, discordance {discordance:g}, drop {drop:g}"
    # Left out: each run has as many fewer questions, in the same order.
    few = n - int(away.sum(axis=1).max())
    left = np.stack([row[~gone][:few] for row, gone in zip(values, away, strict=True)])
    plays = [(quick(left, POOLED), quick(values, POOLED, missing=away))]
    alpha, miss = POOLED.pooled, POLICY.miss
    losses, gains = counts(np.where(away, 0, values).astype(np.int8))
    lacking = away.sum(axis=1)
    share = {"false_alarm": alpha, "miss": miss}
    before = np.array(
        [
            int(full(lost, gained, n - gone, **share))
            for lost, gained, gone in zip(losses, gains, lacking, strict=True)
        ]
    )
    least = full(losses, gains + (lacking if not drop else 0), n, **share)
    most = full(losses + (lacking if drop else 0), gains, n, **share)
    after = np.where(least == most, least, 0)
    after[lacking > POLICY.max_error_rate * n] = 0
    asked = np.full(runs, n)
    plays.append((Played(before, asked), Played(after, asked)))
    return [
        Before(
            *(
                Rate(f"{what}, {rule}", float(np.mean(one.verdicts == wrong)), limit, runs)
                for one in both
            ),
            float(np.mean(both[1].verdicts == 0)),
        )
        for rule, both in zip(("quick", "fixed"), plays, strict=True)
    ]


def tries(n: int, discordance: float, most: int, *, runs: int, seed: int) -> Before:
    """Asks anew after each verdict that is not PASS: how often a loss of `catch` passes at last."""
    passed = [np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)]
    for number in range(most):
        values = draw(n, discordance, POLICY.catch, runs=runs, seed=seed + number)
        for way, share in enumerate((1.0, 0.5**number)):
            budget = POOLED._replace(pooled=share * POOLED.pooled, miss_share=share)
            passed[way] |= quick(values, budget).verdicts == 1
    what = f"{most} tries, N {n}, discordance {discordance:g}"
    limits = (POLICY.miss * most, POLICY.miss * (2.0 - 0.5 ** (most - 1)))
    rates = [
        Rate(what, float(np.mean(one)), limit, runs)
        for one, limit in zip(passed, limits, strict=True)
    ]
    return Before(*rates, float(np.mean(~passed[1])))


def baseline_luck(n: int, discordance: float, *, baselines: int, runs: int, seed: int) -> Before:
    """How often an unchanged model fails against the luckiest baseline in 20.

    All discordance is noise: twice as many questions as differ are answered by a coin, anew each
    time. The pooled test of the whole benchmark, at its share of the budget.

    Returns:
        Before: the baseline was asked once; after: twice, and a verdict needs both looks.
    """
    rng = np.random.default_rng(seed)
    share = Budget.whole(POLICY).pooled
    coins = round(2 * discordance * n)
    alarms: tuple[list[float], list[float]] = ([], [])
    for _ in range(baselines):
        # Right both times, only at first, only then, never.
        kinds = rng.multinomial(coins, [0.25] * 4)
        right = rng.binomial(kinds, 0.5, size=(runs, 4))
        wrong = kinds - right
        fails = [
            pooled_fails(wrong[:, yes].sum(axis=1), right[:, no].sum(axis=1), n, share)
            for yes, no in (([0, 1], [2, 3]), ([0, 2], [1, 3]))
        ]
        alarms[0].append(float(fails[0].mean()))
        alarms[1].append(float((fails[0] & fails[1]).mean()))
    return _luck(f"baseline, whole, N {n}, discordance {discordance:g}", alarms, runs)


def quick_baseline_luck(
    n: int, discordance: float, *, baselines: int, runs: int, seed: int
) -> Before:
    """The same for the quick rule, at its share of the budget."""
    rng = np.random.default_rng(seed)
    coins, budget = round(2 * discordance * n), Budget.quick(POLICY)._replace(unparsed=0.0)
    alarms: tuple[list[float], list[float]] = ([], [])
    for _ in range(baselines):
        looks = np.zeros((2, n))
        looks[:, :coins] = rng.random((2, coins)) < 0.5
        order = rng.permuted(np.tile(np.arange(n, dtype=np.int16), (runs, 1)), axis=1)
        own = (order < coins) & (rng.random(order.shape, dtype=np.float32) < 0.5)
        for way in (0, 1):
            race = Race(Scale.paired(), POLICY, budget, population=n, orders=runs)
            for start in range(0, n, BATCH):
                if not len(race.running):
                    break
                part = order[race.running, start : start + BATCH]
                mine = own[race.running, start : start + BATCH]
                rises, scored = np.zeros(part.shape), np.ones(part.shape, dtype=bool)
                again = (looks[1][part] - mine, rises) if way else None
                race.update(looks[0][part] - mine, rises, scored, again)
            alarms[way].append(float(np.mean(race.outcome == Outcome.HARM)))
    return _luck(f"baseline, quick, N {n}, discordance {discordance:g}", alarms, runs)


def _luck(what: str, alarms: tuple[list[float], list[float]], runs: int) -> Before:
    worst = [float(np.quantile(one, 0.95)) for one in alarms]
    before, after = (Rate(what, one, POLICY.false_alarm, runs) for one in worst)
    return Before(before, after, float(np.mean(alarms[0])))


@dataclass(frozen=True)
class Audit:
    """All figures of the page.

    Attributes:
        pairs: N, discordance and drop to the pair of runs, and to what a full run alone leaves
            undecided.
        missing: The same to the quick and the fixed rule.
        tries: How many tries to what passes at last.
        luck: Rule, N and discordance to the luckiest baseline in 20.
    """

    pairs: dict[tuple[int, float, float], tuple[Before, float]]
    missing: dict[tuple[int, float, float], list[Before]]
    tries: dict[int, Before]
    luck: dict[tuple[str, int, float], Before]

    @property
    def rates(self) -> list[Rate]:
        """Every rate that must stay within its stated limit."""
        found = [pair.after for pair, _ in self.pairs.values()]
        found += [one.after for both in self.missing.values() for one in both]
        found += [one.after for one in (*self.tries.values(), *self.luck.values())]
        return found


def audit(*, quick: bool, seed: int) -> Audit:
    """Runs every cell.

    Args:
        quick: Fewer runs, for a look.
        seed: Of the draws.
    """
    runs = 300 if quick else 3000
    cells = [
        (n, discordance, drop)
        for n in (1000, 2000, 5000, MMLU)
        for discordance in (0.03, 0.07, 0.15)
        for drop in (0.0, POLICY.catch)
    ]
    both = {}
    for at, cell in enumerate(cells):
        some = {"runs": runs // 2 if cell[0] == MMLU else runs, "seed": seed + at}
        both[cell] = pairs(*cell, **some)
    lacking = [(n, 0.1, drop) for n in (5000, MMLU) for drop in (0.0, POLICY.catch)]
    times = (60, 100) if quick else (300, 400)
    return Audit(
        pairs=both,
        missing={cell: missing(*cell, runs=runs // 3, seed=seed) for cell in lacking},
        tries={most: tries(2000, 0.1, most, runs=runs // 3, seed=seed) for most in (2, 4)},
        luck={
            **{
                ("whole", n, q): baseline_luck(
                    n, q, baselines=times[0], runs=10 * times[1], seed=seed
                )
                for n, q in ((500, 0.1), (1000, 0.05), (2000, 0.1))
            },
            ("quick", 2000, 0.1): quick_baseline_luck(
                2000, 0.1, baselines=times[0] // 3, runs=times[1], seed=seed
            ),
        },
    )


def lines(found: Audit) -> Iterator[str]:
    """Yields the page's section on what surrounds the rules."""
    yield "## Around the rules, before and after"
    yield ""
    yield "With all of both shares on the pooled test; answers drawn anew in each run."
    yield ""
    yield "**A quick run and, where that is undecided, the whole benchmark on the same answers.**"
    yield "Before: each at its whole shares. After: four fifths of them and one fifth. “Wrong” as"
    yield "above; stated: at most 5 %."
    yield ""
    yield (
        "| N | discordance | true drop | wrong before | wrong after | undecided after both "
        "| undecided by a full run alone |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for (n, discordance, drop), (both, alone) in found.pairs.items():
        yield (
            f"| {n:,} | {discordance:g} | {drop:g} | {_free(both.before)} | {both.after} "
            f"| {both.undecided:.1%} | {alone:.1%} |"
        )
    yield ""
    yield f"**Missing answers that depend on the outcome.** {MISSING:.2%} of the questions have no"
    yield "answer: at a drop all of them were lost, at none all were gained. Before: they are left"
    yield "out. After: they count in the way that is worst. Stated: at most 5 %."
    yield ""
    yield "| N | rule | discordance | true drop | wrong before | wrong after | undecided |"
    yield "|---:|---|---:|---:|---:|---:|---:|"
    for (n, discordance, drop), rules in found.missing.items():
        for rule, one in zip(("quick", "fixed"), rules, strict=True):
            yield (
                f"| {n:,} | {rule} | {discordance:g} | {drop:g} | {_free(one.before)} "
                f"| {one.after} | {one.undecided:.1%} |"
            )
    yield ""
    yield "**Trying until it passes.** A candidate that lost 2 points is asked anew after each"
    yield "verdict that is not PASS, by quick runs of 2,000 questions at a discordance of 0.1."
    yield "Before: at whole shares each time. After: at half of those of the try before; stated: at"
    yield "most 10 % however many tries."
    yield ""
    yield "| tries | passes before | passes after |"
    yield "|---:|---:|---:|"
    for most, one in found.tries.items():
        yield f"| {most} | {_free(one.before)} | {one.after} |"
    yield ""
    yield "**The luck of a recorded baseline.** An unchanged model whose every disagreement is"
    yield "noise, against many baselines; false alarms of the pooled test against the luckiest one"
    yield "in 20. Before: asked once. After: asked twice, and a verdict must hold by both looks."
    yield "Stated: at most 5 %."
    yield ""
    yield "| rule | N | discordance | 1 in 20 before | 1 in 20 after | mean before |"
    yield "|---|---:|---:|---:|---:|---:|"
    for (rule, n, discordance), one in found.luck.items():
        yield (
            f"| {rule} | {n:,} | {discordance:g} | {_free(one.before)} | {one.after} "
            f"| {one.undecided:.1%} |"
        )
    yield ""


def _free(rate: Rate) -> str:
    """Returns a rate without a limit."""
    return str(replace(rate, limit=1.0))


MMLU = sum(MMLU_SIZES)
