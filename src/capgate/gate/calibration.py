"""How often a target contradicts itself, and what the gate makes of that.

Servers are not deterministic under load: the same model sometimes answers the same question
differently. Which of two looks was the reference is chance, so each flip is as likely to have been
a loss as a gain. A thousand such draws through the real gate show how often an unchanged model
would have failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError
from capgate.gate.budget import Budget, benchmark_budget
from capgate.gate.conclude import too_many_unread
from capgate.gate.decide_paired import decide_fixed
from capgate.gate.groups import judged_domains
from capgate.gate.orders import BATCH
from capgate.gate.policy import Policy
from capgate.gate.race import Outcome, Race
from capgate.gate.readings import code_row
from capgate.gate.rows import Pair, count_pairs
from capgate.gate.scale import Scale
from capgate.gate.stats import Interval, clopper_pearson

WHOLE_ROWS: Final = 4_000_000
"""Rows that the whole-benchmark rule is played over in all: half a minute's worth."""


@dataclass(frozen=True)
class Rate:
    """A share that was counted.

    Attributes:
        count: How many.
        of: Of how many.
        share: count / of.
        interval: Its exact confidence interval.
    """

    count: int
    of: int
    share: float
    interval: Interval

    @classmethod
    def of_count(cls, count: int, of: int) -> Rate:
        """A count of at least one."""
        return cls(count, of, count / of, clopper_pearson(count, of))


@dataclass(frozen=True)
class Calibration:
    """What two looks at a target show.

    Attributes:
        n: Questions answered both times.
        errors: Questions left out, as one look has no answer.
        changed: Questions answered otherwise (another letter, or readable only once).
        flips: Questions correct only once; what the gate sees of the changes.
        losses: Flips that were correct only at the first look.
        accuracy_first: Accuracy of the first look.
        accuracy_second: Accuracy of the second.
        whole: How often the whole-benchmark rule fails on re-signed flips.
        quick: How often the quick rule fails on them.
        quick_undecided: Share of the quick runs that end without a verdict.
        quick_questions: Questions that a quick run takes on average.
        allowed: The policy's `false_alarm`.
    """

    n: int
    errors: int
    changed: Rate
    flips: Rate
    losses: int
    accuracy_first: float
    accuracy_second: float
    whole: Rate
    quick: Rate
    quick_undecided: float
    quick_questions: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the measured false alarms are within what the policy allows."""
        return all(rate.interval.low <= self.allowed for rate in (self.whole, self.quick))


def calibrate(
    first: Sequence[Answer],
    second: Sequence[Answer],
    policy: Policy,
    *,
    population: int,
    simulations: int,
    seed: int,
    domains: Mapping[str, str],
    groups: bool = True,
    step: Callable[[], None] = lambda: None,
) -> Calibration:
    """Compares two looks at one target.

    Args:
        first: Its answers.
        second: Its answers to the same questions, in the same order.
        policy: The target's policy.
        population: Questions of the benchmark that a quick run draws from; where fewer were
            asked, they are resampled to as many.
        simulations: How often the flips are re-signed and judged; the whole-benchmark rule on
            many questions fewer times, see `WHOLE_ROWS`.
        seed: Of the signs and orders.
        domains: Subject to its domain.
        groups: Whether the benchmark has groups, which are judged as well.
        step: Called after each round of the whole-benchmark rule.

    Raises:
        ConfigError: No question was answered both times, or too many answers are unreadable.
    """
    both = [(a, b) for a, b in zip(first, second, strict=True) if a.state.scored and b.state.scored]
    if not both:
        raise ConfigError(
            "no question was answered both times", remedy="see the faults in the run's logs"
        )
    pairs = [_pair(a, b) for a, b in both]
    looks = ("the first look", "the second look")
    if unread := too_many_unread(count_pairs(pairs), policy, names=looks):
        raise ConfigError(unread, remedy="calibrate again when its answers can be read")
    flipped = [pair for pair in pairs if _right(pair.reference) != _right(pair.candidate)]
    failed, mean_questions, undecided = _race(pairs, policy, population, simulations, seed)
    times = whole_rounds(len(pairs), simulations)
    parents = judged_domains({pair.subject for pair in pairs}, domains)
    budget = benchmark_budget(policy, 1, groups=groups, parents=bool(parents))
    return Calibration(
        n=len(pairs),
        errors=len(first) - len(pairs),
        changed=Rate.of_count(sum(answered_otherwise(a, b) for a, b in both), len(pairs)),
        flips=Rate.of_count(len(flipped), len(pairs)),
        losses=sum(_right(pair.reference) for pair in flipped),
        accuracy_first=sum(_right(pair.reference) for pair in pairs) / len(pairs),
        accuracy_second=sum(_right(pair.candidate) for pair in pairs) / len(pairs),
        whole=Rate.of_count(_whole(pairs, policy, times, seed, domains, budget, step), times),
        quick=Rate.of_count(failed, simulations),
        quick_undecided=undecided,
        quick_questions=mean_questions,
        allowed=policy.false_alarm,
    )


def answered_otherwise(first: Answer, second: Answer) -> bool:
    """Whether two answers to a question differ: another letter, or readable only once."""
    return (first.state, first.choice) != (second.state, second.choice)


def _pair(first: Answer, second: Answer) -> Pair:
    return Pair(
        first.question, first.subject, first.state, second.state, first.cut_off, second.cut_off
    )


def whole_rounds(questions: int, simulations: int) -> int:
    """How often the whole-benchmark rule is tried on so many questions."""
    return min(simulations, max(100, WHOLE_ROWS // max(questions, 1)))


def _whole(
    pairs: Sequence[Pair],
    policy: Policy,
    simulations: int,
    seed: int,
    domains: Mapping[str, str],
    budget: Budget,
    step: Callable[[], None],
) -> int:
    """How often the whole-benchmark rule fails when the two looks change places at random."""
    rng = np.random.default_rng(seed)
    rows = list(pairs)
    differ = [at for at, pair in enumerate(pairs) if pair.reference is not pair.candidate]
    failed = 0
    for _ in range(simulations):
        for at, swap in zip(differ, rng.random(len(differ)) < 0.5, strict=True):
            pair = pairs[at]
            rows[at] = (
                pair._replace(reference=pair.candidate, candidate=pair.reference) if swap else pair
            )
        verdict = decide_fixed(rows, policy, reference="baseline", domains=domains, budget=budget)
        failed += verdict.kind == "REGRESSION"
        step()
    return failed


def _race(
    pairs: Sequence[Pair], policy: Policy, population: int, simulations: int, seed: int
) -> tuple[int, float, float]:
    """The same for the quick rule, each time in another random order.

    Returns:
        How often it fails, its mean number of questions, and the share without a verdict.
    """
    rng = np.random.default_rng(seed)
    coded = np.array([code_row(pair) for pair in pairs], dtype=np.int8).T
    known, n = len(pairs), max(population, len(pairs))
    kind = np.int16 if n < 2**15 else np.int32
    if n == known:
        order = rng.permuted(np.tile(np.arange(n, dtype=kind), (simulations, 1)), axis=1)
    else:
        order = rng.integers(0, known, size=(simulations, n), dtype=kind)
    signs = rng.choice(np.array([-1, 1], dtype=np.int8), size=(simulations, n))
    budget = benchmark_budget(policy, 1, quick=True)
    race = Race(Scale.paired(), policy, budget, population=n, orders=simulations)
    for start in range(0, n, BATCH):
        running = race.running
        if not len(running):
            break
        drawn = coded[:, order[running, start : start + BATCH]]
        sign = signs[running, start : start + BATCH]
        race.update(
            (drawn[0] * sign).astype(float), (drawn[1] * sign).astype(float), drawn[2].astype(bool)
        )
    failed = np.isin(race.outcome, (Outcome.HARM, Outcome.UNPARSED)).sum()
    open_ends = np.isin(race.outcome, (Outcome.UNDECIDED, Outcome.TOO_MANY_ERRORS)).mean()
    return int(failed), float(race.asked.mean()), float(open_ends)


def _right(state: AnswerState) -> bool:
    return state is AnswerState.CORRECT
