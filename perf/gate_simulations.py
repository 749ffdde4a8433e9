"""Simulated runs of the gate; `operating_characteristics.py` tabulates them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy import special

from capgate.common.answers import AnswerState
from capgate.gate import Budget, Pair, Policy, decide_fixed, stats
from capgate.gate.orders import BATCH, run_orders
from capgate.gate.race import Outcome, Race
from capgate.gate.scale import Scale

Counts = npt.NDArray[np.int64]

POLICY = Policy()
POOLED = Budget(total=0.05, pooled=0.05, subjects=0.0, unparsed=0.0)
"""All of the error share on the pooled test, as the stated operating characteristics have it."""

# Test questions of MMLU's 57 subjects, in alphabetical order.
MMLU_SIZES = (
    *(100, 135, 152, 100, 265, 144, 100, 100, 100, 173, 102, 100, 235, 114, 145, 378, 126, 100),
    *(310, 203, 100, 165, 198, 193, 390, 270, 238, 151, 545, 216, 204, 237, 223, 131, 121, 108),
    *(163, 112, 103, 234, 100, 783, 346, 895, 306, 311, 324, 282, 1534, 272, 612, 110, 245, 201),
    *(100, 166, 171),
)


@dataclass(frozen=True)
class Rate:
    """How often something went wrong, and how often it may.

    Attributes:
        what: What went wrong where.
        share: Of the runs.
        limit: What is stated.
        runs: How many runs; None where the share was reckoned and not simulated.
    """

    what: str
    share: float
    limit: float
    runs: int | None

    @property
    def holds(self) -> bool:
        """Whether it is within its limit, allowing for the simulation's own error."""
        if self.runs is None:
            return self.share <= self.limit
        return self.share <= self.limit + 3 * sqrt(self.limit * (1 - self.limit) / self.runs)

    def __str__(self) -> str:
        text = f"{self.share:.2%}"
        if self.runs is not None:
            spread = max(self.share * (1 - self.share), 1 / self.runs)
            text += f" ± {1.96 * sqrt(spread / self.runs):.2%}"
        return text if self.holds else f"{text} **above**"


@dataclass(frozen=True)
class Cell:
    """One simulated cell of the pooled rules.

    Attributes:
        rule: `redrawn`, `orders` (both sequential) or `fixed`.
        n: Questions of the benchmark.
        discordance: Share of questions where the two sides differ.
        drop: True drop.
        shares: Share of the runs by verdict.
        runs: How many runs.
        mean: Mean questions until the verdict.
        q90: 90 % quantile of the questions.
        policy: What was tolerated and what was to be caught.
    """

    rule: str
    n: int
    discordance: float
    drop: float
    shares: dict[str, float]
    runs: int
    mean: float
    q90: float
    policy: Policy = POLICY

    @property
    def wrong(self) -> Rate | None:
        """Wrong verdicts; None between `tolerate` and `catch`, where none is wrong."""
        what = f"{self.rule}, N {self.n}, discordance {self.discordance:g}, drop {self.drop:g}"
        if self.drop <= self.policy.tolerate:
            return Rate(what, self.shares["REGRESSION"], POOLED.pooled, self.runs)
        if self.drop >= self.policy.catch:
            return Rate(what, self.shares["PASS"], self.policy.miss, self.runs)
        return None


def population(n: int, discordance: float, drop: float) -> npt.NDArray[np.int8]:
    """Returns coded answers with exactly that discordance and drop (to one question)."""
    net = round(n * drop)
    both = max(round(n * discordance), net)
    both += (both - net) % 2
    lost = (both + net) // 2
    rows = np.zeros((3, n), dtype=np.int8)
    rows[0, :lost], rows[0, lost:both], rows[2] = 1, -1, 1
    return rows


def orders_of(n: int, discordance: float, drop: float, *, orders: int, seed: int) -> Cell:
    """Runs the quick gate over random orders of a fixed benchmark with exactly that drop."""
    found = run_orders(
        Scale.paired(), POLICY, POOLED, population(n, discordance, drop), orders=orders, seed=seed
    )
    means = found.mean_questions, found.q90_questions
    return Cell("orders", n, discordance, drop, found.verdicts, orders, *means)


def play(race: Race, n: int, kinds: npt.NDArray[np.float64], seed: int) -> None:
    """Draws each question of each order anew, until all are decided or put.

    Args:
        race: What is fed.
        n: Questions at most.
        kinds: Shape `(kinds, 3)`: value, rise of unparsed, and chance of each kind of question.
        seed: Of the draws.
    """
    rng, up_to = np.random.default_rng(seed), np.cumsum(kinds[:, 2])
    for start in range(0, n, BATCH):
        if not len(race.running):
            break
        drawn = rng.random((len(race.running), min(BATCH, n - start)))
        kind = np.minimum(np.searchsorted(up_to, drawn, side="right"), len(kinds) - 1)
        race.update(kinds[kind, 0], kinds[kind, 1], np.ones(kind.shape, dtype=bool))


def redrawn(
    n: int, discordance: float, drop: float, *, orders: int, seed: int, policy: Policy = POLICY
) -> Cell:
    """Runs the quick gate where each run draws its N answers anew.

    The drop is an expected one: each run's questions have a drop of their own by chance.
    """
    scale = Scale.paired()
    race = Race(scale, policy, POOLED, population=n, orders=orders)
    values, chances = scale.chances(drop, discordance)
    play(race, n, np.column_stack([values, 0 * values, chances]), seed)
    shares = {
        "PASS": float(np.mean(race.outcome == Outcome.HARMLESS)),
        "REGRESSION": float(np.mean(race.outcome == Outcome.HARM)),
        "INCONCLUSIVE": float(np.mean(race.outcome == Outcome.UNDECIDED)),
    }
    means = float(race.asked.mean()), float(np.quantile(race.asked, 0.9))
    return Cell("redrawn", n, discordance, drop, shares, orders, *means, policy)


def mcnemar(losses: Counts, gains: Counts) -> npt.NDArray[np.float64]:
    """Returns `stats.mcnemar_exact` of many counts at once."""
    return stats.binomial_at_least(losses, losses + gains, 0.5)


def pooled_fails(losses: Counts, gains: Counts, n: int, share: float) -> npt.NDArray[np.bool_]:
    """Returns where the pooled fixed rule says REGRESSION."""
    above = (losses - gains) / n > (POLICY.tolerate + POLICY.catch) / 2
    return (mcnemar(losses, gains) <= share) & (~refuted_catch(losses, gains, n) | above)


def refuted_catch(losses: Counts, gains: Counts, n: int) -> npt.NDArray[np.bool_]:
    """Returns where `stats.tango_p_below` refutes a drop of `catch`, of many counts at once."""
    score = stats.tango_score(losses, gains, n, POLICY.catch, continuity=stats.HALF_A_QUESTION)
    refuted: npt.NDArray[np.bool_] = special.ndtr(score) <= POLICY.miss
    return refuted


def fixed_shares(losses: Counts, gains: Counts, n: int, share: float) -> dict[str, float]:
    """Returns the pooled fixed rule's verdicts; `check_fixed` compares it with the gate."""
    fails = pooled_fails(losses, gains, n, share)
    passes = refuted_catch(losses, gains, n) & ~fails
    return {
        "PASS": float(passes.mean()),
        "REGRESSION": float(fails.mean()),
        "INCONCLUSIVE": float((~fails & ~passes).mean()),
    }


def check_fixed(seed: int) -> None:
    """Makes sure that the vectorised rule is the gate's own, on random counts."""
    rng = np.random.default_rng(seed)
    right, wrong = AnswerState.CORRECT, AnswerState.WRONG
    for _ in range(60):
        n, rate = int(rng.integers(200, 3000)), float(rng.uniform(0.01, 0.3))
        lost, gained, _ = rng.multinomial(n, [rate * 0.6, rate * 0.4, 1 - rate])
        pairs = [
            Pair(str(i), "all", right if i < lost or i >= lost + gained else wrong, right)
            if i >= lost
            else Pair(str(i), "all", right, wrong)
            for i in range(n)
        ]
        kind = decide_fixed(pairs, POLICY, budget=POOLED).kind
        shares = fixed_shares(np.array([lost]), np.array([gained]), n, POOLED.pooled)
        if shares[kind] != 1.0:
            raise AssertionError(f"{lost} lost, {gained} gained of {n}: {kind}, not {shares}")


def fixed(n: int, discordance: float, drop: float, *, runs: int, seed: int) -> Cell:
    """Draws answers to a whole benchmark many times and applies the fixed rule."""
    rng = np.random.default_rng(seed)
    _, chances = Scale.paired().chances(drop, discordance)
    draws = rng.multinomial(n, chances, size=runs)
    shares = fixed_shares(draws[:, 0], draws[:, 1], n, POOLED.pooled)
    return Cell("fixed", n, discordance, drop, shares, runs, n, n)


def unparsed_fails(became: Counts, ceased: Counts, n: int, share: float) -> npt.NDArray[np.bool_]:
    """Returns where the fixed test on unreadable answers fails."""
    large = (became - ceased) / n >= POLICY.max_unparsed_increase - 1e-12
    return large & (mcnemar(became, ceased) <= share)


def unparsed_alarms(n: int, rate: float, *, runs: int, seed: int) -> tuple[Rate, Rate, Rate, Rate]:
    """Returns how often an unchanged model that leaves a share of its answers unreadable fails.

    Whether an answer can be read is tossed anew for each side and question, which is the most by
    which two such sides can differ; 7 of 10 answers are right where they can be read, and on a
    twentieth of the questions the sides differ in other ways.

    Returns:
        A quick run by the watch on unreadable answers and in all; likewise all N by the fixed rule.
    """
    turned = rate * (1 - rate)
    kinds = np.array(
        [
            *((1, 1, 0.7 * turned), (0, 1, 0.3 * turned), (-1, -1, 0.7 * turned)),
            *((0, -1, 0.3 * turned), (1, 0, 0.025), (-1, 0, 0.025), (0, 0, 0.95 - 2 * turned)),
        ]
    )
    budget = Budget.quick(POLICY)
    race = Race(Scale.paired(), POLICY, budget, population=n, orders=runs)
    play(race, n, kinds, seed)
    watch = float(np.mean(race.outcome == Outcome.UNPARSED))
    harm = float(np.mean(race.outcome == Outcome.HARM))
    what = f"unparsed {rate:g}, N {n}"
    quick = (
        Rate(f"{what}, quick, watch", watch, budget.unparsed, runs),
        Rate(f"{what}, quick", watch + harm, budget.pooled + budget.unparsed, runs),
    )
    many, whole = 20 * runs, Budget.whole(POLICY)
    draws = np.random.default_rng(seed).multinomial(n, kinds[:, 2], size=many)

    def count(column: int, value: int) -> Counts:
        counted: Counts = draws[:, kinds[:, column] == value].sum(axis=1)
        return counted

    unparsed = unparsed_fails(count(1, 1), count(1, -1), n, whole.unparsed)
    pooled = pooled_fails(count(0, 1), count(0, -1), n, whole.pooled)
    return (
        *quick,
        Rate(f"{what}, fixed, unparsed", float(unparsed.mean()), whole.unparsed, many),
        Rate(f"{what}, fixed", float((unparsed | pooled).mean()), whole.total, many),
    )


def tolerated_alarms(n: int, tolerate: float, discordance: float, share: float) -> Rate:
    """Returns how often a true drop of just `tolerate` fails the fixed test, computed exactly."""
    gain = (max(discordance, tolerate) - tolerate) / 2
    first, last = stats.likely_counts(n, gain)
    gained = np.arange(first, last + 1)
    needed: list[int] = []
    for gains in gained.tolist():
        # The more gains, the more losses it takes.
        losses = max(needed[-1] if needed else 0, int(gains + n * tolerate))
        while losses <= n - gains and not (
            stats.tango_p_above(losses, gains, n, tolerate) <= share
            and stats.mcnemar_exact(losses, gains) <= share
        ):
            losses += 1
        needed.append(losses)
    found = stats.binomial_at_least(np.array(needed), n - gained, (gain + tolerate) / (1 - gain))
    size = float(np.sum(stats.binomial_pmf(gained, n, gain) * found))
    what = f"tolerate {tolerate:g}, N {n}, discordance {discordance:g}, share {share:.2g}"
    return Rate(what, size, share, None)
