"""Simulated runs of several benchmarks under one verdict; `suite_page.py` tabulates them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gate_simulations import MMLU_SIZES, POLICY, Counts, Rate, mcnemar
from scipy import special

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, DOMAINS, SUBJECTS
from capgate.gate import Budget, benchmark_budget, stats
from capgate.gate.budget import together_share
from capgate.gate.orders import BATCH
from capgate.gate.race import Outcome, Race
from capgate.gate.scale import Scale

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

KINDS = ("PASS", "REGRESSION", "INCONCLUSIVE")
UNREAD = 0.01
"""Share of answers that one side alone leaves unreadable, on each side."""
LONG = 0.05
"""Share of answers that are several times longer on one side alone, on each side."""


@dataclass(frozen=True)
class Bench:
    """A simulated benchmark.

    Attributes:
        name: Its name.
        sizes: Questions of each group; a single one where it has no groups.
        catch: The drop that must be caught.
        parents: The parent of each group; empty where it has none.
    """

    name: str
    sizes: tuple[int, ...]
    catch: float
    parents: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """Questions of all groups."""
        return sum(self.sizes)

    def budget(self, of: int, *, quick: bool = False) -> Budget:
        """Returns its budget in a suite of so many."""
        return benchmark_budget(
            POLICY, of, groups=len(self.sizes) > 1, parents=bool(self.parents), quick=quick
        )


_DOMAINS = {name: at for at, name in enumerate(DOMAINS)}
MMLU = Bench("mmlu", MMLU_SIZES, 0.02, tuple(_DOMAINS[DOMAIN_OF[one]] for one in SUBJECTS))
GSM8K, IFEVAL = Bench("gsm8k", (1319,), 0.05), Bench("ifeval", (541,), 0.08)
CORE = (
    MMLU,
    Bench("hellaswag", (10_042,), 0.02),
    Bench("bbh", (241,) * 26 + (243,), 0.03),
    GSM8K,
    Bench("arc_challenge", (1172,), 0.05),
    Bench("winogrande", (1267,), 0.05),
    Bench("truthfulqa", (817,), 0.06),
    IFEVAL,
)
SUITES: Mapping[str, tuple[Bench, ...]] = {
    "3 equal": tuple(Bench(name, (2000,), 0.04) for name in "abc"),
    "3: mmlu, gsm8k, ifeval": (MMLU, GSM8K, IFEVAL),
    "8 equal": tuple(Bench(name, (200,) * 10, 0.04) for name in "abcdefgh"),
    "8: core": CORE,
}


@dataclass(frozen=True)
class Scenario:
    """What was lost.

    Attributes:
        lost: In words.
        part: Of its `catch` that each benchmark lost.
        one: Of its `catch` that the last benchmark lost.
        group: What the first group of the first benchmark lost, as a fraction.
        discordance: Share of questions where the two sides differ; a larger drop raises it.
    """

    lost: str
    part: float = 0.0
    one: float = 0.0
    group: float = 0.0
    discordance: float = 0.1

    def drops(self, suite: Sequence[Bench], at: int) -> list[float]:
        """Returns the true drop of each group of a benchmark of the suite."""
        bench = suite[at]
        drop = bench.catch * (self.one if at == len(suite) - 1 and self.one else self.part)
        drops = [drop] * len(bench.sizes)
        if at == 0 and self.group and len(drops) > 1:
            drops[0] = self.group
        return drops

    @property
    def limits(self) -> dict[str, float]:
        """What is stated: kind of verdict to the share of runs that may have it."""
        if self.one >= 1.0 or self.part >= 1.0:
            return {"PASS": POLICY.miss}
        if not (self.part or self.one or self.group):
            return {"REGRESSION": POLICY.false_alarm}
        return {}


SCENARIOS = (
    *(Scenario("nothing", discordance=one) for one in (0.05, 0.1, 0.2, 0.4)),
    *(Scenario("`catch` of the last one", one=1.0, discordance=one) for one in (0.1, 0.2)),
    Scenario("`catch` of each", part=1.0),
    Scenario("three quarters of `catch` of each", part=0.75),
    Scenario("twice `catch` of the last one", one=2.0),
    Scenario("30 points of the first group", group=0.3),
)


class Draws(NamedTuple):
    """Counts of many whole runs of one benchmark.

    Attributes:
        lost: By group, shape `(runs, groups)`.
        gained: The same.
        unread: Newly unreadable and readable again, shape `(runs, 2)`.
        long: Several times longer and shorter, same shape.
        cut: Newly cut off and no more cut off, same shape.
    """

    lost: Counts
    gained: Counts
    unread: Counts
    long: Counts
    cut: Counts


class Whole(NamedTuple):
    """What whole runs of one benchmark say, shape `(runs,)` each."""

    fails: Flags
    passes: Flags


def draw(
    bench: Bench, drops: Sequence[float], discordance: float, *, runs: int, seed: int
) -> Draws:
    """Draws the answers to a whole benchmark many times."""
    rng = np.random.default_rng(seed)
    groups = []
    for size, drop in zip(bench.sizes, drops, strict=True):
        differ = max(discordance, drop)
        chances = [(differ + drop) / 2, (differ - drop) / 2, 1 - differ]
        groups.append(rng.multinomial(size, chances, size=runs))
    lost, gained, _ = np.moveaxis(np.stack(groups, axis=1), 2, 0)
    turns = [
        rng.multinomial(bench.n, [rate, rate, 1 - 2 * rate], size=runs)[:, :2]
        for rate in (UNREAD, LONG, UNREAD)
    ]
    return Draws(lost, gained, *turns)


def judge(bench: Bench, draws: Draws, of: int) -> Whole:
    """Applies the tests of one benchmark, each at its own share.

    Answers that grew count as large in the mean always, so that the sign test alone decides.
    """
    budget, n = bench.budget(of), bench.n
    lost, gained = draws.lost.sum(axis=1), draws.gained.sum(axis=1)
    fails = lost_enough(lost, gained, n, bench.catch, budget.pooled)
    if budget.subjects:
        share = budget.per_subject(len(bench.sizes))
        fails |= (mcnemar(draws.lost, draws.gained) <= share).any(axis=1)
    if budget.domains:
        of_parent = np.eye(max(bench.parents) + 1, dtype=np.int64)[list(bench.parents)]
        found = mcnemar(draws.lost @ of_parent, draws.gained @ of_parent)
        fails |= (found <= budget.per_domain(of_parent.shape[1])).any(axis=1)
    for moved, share in ((draws.unread, budget.unparsed), (draws.cut, budget.length / 2)):
        rise = (moved[:, 0] - moved[:, 1]) / n >= POLICY.max_unparsed_increase - 1e-12
        fails |= rise & (mcnemar(moved[:, 0], moved[:, 1]) <= share)
    fails |= mcnemar(draws.long[:, 0], draws.long[:, 1]) <= budget.length / 2
    return Whole(fails, refuted(lost, gained, n, bench.catch) & ~fails)


def lost_enough(lost: Counts, gained: Counts, n: int, catch: float | Floats, share: float) -> Flags:
    """Returns where "no loss" is rejected, and no loss of `catch` is refuted or it is near."""
    near = refuted(lost, gained, n, catch) & ((lost - gained) / n <= np.asarray(catch) / 2)
    found: Flags = (mcnemar(lost, gained) <= share) & ~near
    return found


def refuted(lost: Counts, gained: Counts, n: int, catch: float | Floats) -> Flags:
    """Returns where a loss of `catch` is ruled out at `miss`."""
    score = stats.tango_score(lost, gained, n, float(catch), continuity=stats.HALF_A_QUESTION)
    found: Flags = special.ndtr(score) <= POLICY.miss
    return found


def whole_runs(suite: Sequence[Bench], draws: Sequence[Draws]) -> npt.NDArray[np.str_]:
    """Returns the verdict of each run over all benchmarks, shape `(runs,)`.

    Holm's procedure rejects something exactly where a test's own share does.
    """
    found = [judge(bench, one, len(suite)) for bench, one in zip(suite, draws, strict=True)]
    n = sum(bench.n for bench in suite)
    catch = sum(bench.n * bench.catch for bench in suite) / n
    lost = sum(one.lost.sum(axis=1) for one in draws)
    gained = sum(one.gained.sum(axis=1) for one in draws)
    fails = lost_enough(np.asarray(lost), np.asarray(gained), n, catch, together_share(POLICY))
    for one in found:
        fails |= one.fails
    passes = np.all([one.passes for one in found], axis=0) & ~fails
    return np.where(fails, "REGRESSION", np.where(passes, "PASS", "INCONCLUSIVE"))


class Quick(NamedTuple):
    """Where many quick runs of one benchmark stopped; shape `(runs,)` each.

    Attributes:
        outcome: Of the race.
        long: Whether answers became longer or are cut off more often.
        log_e: Natural logarithm of the e-value against "no loss".
        net: Losses less gains.
        asked: Questions put.
    """

    outcome: npt.NDArray[np.int8]
    long: Flags
    log_e: Floats
    net: Floats
    asked: npt.NDArray[np.int64]


Moves = Callable[[npt.NDArray[np.intp], int, int], Floats]
"""From the runs that go on, the first question and the one after the last to what these questions
moved, shape `(4, runs, questions)`: loss, unreadable, longer, cut off; +1, −1 or 0 of each."""


def quick_runs(bench: Bench, of: int, moves: Moves, *, runs: int) -> Quick:
    """Follows many quick runs of one benchmark of a suite until each has its own verdict."""
    budget, scale = bench.budget(of, quick=True), Scale.paired()
    policy = POLICY.for_benchmark(bench.name, bench.catch)
    race = Race(scale, policy, budget, population=bench.n, orders=runs)
    gap, half = policy.catch - policy.tolerate, budget.length / 2
    harm = scale.against_at_most(policy.tolerate, gap=gap, share=budget.pooled, orders=runs)
    watches = [
        Scale(-1.0, 1.0, 0.0, 0.05).against_at_most(0.0, gap=one, share=half, orders=runs)
        for one in (0.1, policy.max_unparsed_increase)
    ]
    log_e, net, peaks, cut = np.zeros(runs), np.zeros(runs), np.zeros((2, runs)), np.zeros(runs)
    for start in range(0, bench.n, BATCH):
        going = race.running.copy()
        if not len(going):
            break
        lost, unread, longer, cut_off = moves(going, start, min(start + BATCH, bench.n))
        harm.update(lost)
        log_e[going], net[going] = harm.log_now, net[going] + lost.sum(axis=1)
        cut[going] += cut_off.sum(axis=1)
        for at, (watch, moved) in enumerate(zip(watches, (longer, cut_off), strict=True)):
            watch.update(moved)
            peaks[at, going] = watch.log_peak
        race.update(lost, unread, np.ones(lost.shape, dtype=bool))
        left = race.outcome[going] == Outcome.UNDECIDED
        if left.any():
            for process in (harm, *watches):
                process.keep(left)
    many = cut / np.maximum(race.asked, 1) >= policy.max_unparsed_increase - 1e-12
    long = (peaks[0] >= -log(half)) | ((peaks[1] >= -log(half)) & many)
    return Quick(race.outcome, long, log_e, net, race.asked)


def redrawn_moves(drops: Sequence[float], sizes: Sequence[int], q: float, seed: int) -> Moves:
    """Returns answers that are drawn anew in each run, in random order over the groups."""
    rng = np.random.default_rng(seed)
    drop = float(np.average(drops, weights=sizes))
    differ = max(q, drop)

    def turn(going: npt.NDArray[np.intp], n: int, up: float, down: float) -> Floats:
        drawn = rng.random((len(going), n))
        return (drawn < up).astype(float) - ((drawn >= up) & (drawn < up + down))

    def moves(going: npt.NDArray[np.intp], start: int, end: int) -> Floats:
        n = end - start
        lost = turn(going, n, (differ + drop) / 2, (differ - drop) / 2)
        others = [turn(going, n, rate, rate) for rate in (UNREAD, LONG, UNREAD)]
        return np.stack([lost, *others])

    return moves


def quick_suite(suite: Sequence[Bench], found: Sequence[Quick]) -> npt.NDArray[np.str_]:
    """Returns the verdict of each run over all benchmarks, shape `(runs,)`."""
    of = len(suite)
    shares = np.array([bench.budget(of, quick=True).pooled for bench in suite])
    alpha = float(shares.sum())
    logs = np.stack(
        [log(share / alpha) + one.log_e for share, one in zip(shares, found, strict=True)]
    )
    mean = np.logaddexp.reduce(logs, axis=0)
    passes = np.all([(one.outcome == Outcome.HARMLESS) & ~one.long for one in found], axis=0)
    asked = np.sum([one.asked for one in found], axis=0)
    drop = np.sum([one.net for one in found], axis=0) / asked
    catches = [bench.catch * one.asked for bench, one in zip(suite, found, strict=True)]
    middle = np.sum(catches, axis=0) / asked / 2
    fails = (mean >= -log(alpha)) & ~(passes & (drop <= middle))
    for one in found:
        fails |= one.long | (one.outcome == Outcome.HARM) | (one.outcome == Outcome.UNPARSED)
    passes &= ~fails
    return np.where(fails, "REGRESSION", np.where(passes, "PASS", "INCONCLUSIVE"))


@dataclass(frozen=True)
class SuiteCell:
    """How many runs of a suite ended with which verdict.

    Attributes:
        suite: Its name in `SUITES`.
        scenario: What was lost.
        quick: Whether the runs are quick ones.
        shares: Share of the runs by verdict.
        runs: How many.
        mean: Mean questions of a run.
    """

    suite: str
    scenario: Scenario
    quick: bool
    shares: dict[str, float]
    runs: int
    mean: float

    @property
    def rates(self) -> list[Rate]:
        """What is stated of it."""
        how = "quick" if self.quick else "whole"
        what = f"suite {self.suite}, {how}, lost: {self.scenario.lost}"
        what += f", discordance {self.scenario.discordance:g}"
        return [
            Rate(f"{what}, {kind}", self.shares[kind], limit, self.runs)
            for kind, limit in self.scenario.limits.items()
        ]


def simulate(name: str, scenario: Scenario, *, quick: bool, runs: int, seed: int) -> SuiteCell:
    """Runs one suite many times."""
    suite = SUITES[name]
    if quick:
        found = [
            quick_runs(
                bench,
                len(suite),
                redrawn_moves(
                    scenario.drops(suite, at), bench.sizes, scenario.discordance, seed + at
                ),
                runs=runs,
            )
            for at, bench in enumerate(suite)
        ]
        kinds = quick_suite(suite, found)
        mean = float(np.sum([one.asked for one in found], axis=0).mean())
    else:
        draws = [
            draw(bench, scenario.drops(suite, at), scenario.discordance, runs=runs, seed=seed + at)
            for at, bench in enumerate(suite)
        ]
        kinds = whole_runs(suite, draws)
        mean = float(sum(bench.n for bench in suite))
    shares = {kind: float(np.mean(kinds == kind)) for kind in KINDS}
    return SuiteCell(name, scenario, quick, shares, runs, mean)
