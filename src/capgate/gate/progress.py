"""Where a quick run stands after a batch, and how many questions it probably still needs."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Final

from capgate.gate.budget import Budget
from capgate.gate.policy import Policy

_SOME: Final = 0.2
"""Share of the evidence needed from which its own pace tells something."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a quick run stands.

    Attributes:
        questions: Questions put.
        population: Questions of the benchmark.
        scored: Of those put, with an answer on both sides.
        losses: Questions lost; against a floor, questions not correct.
        gains: Questions gained; against a floor, questions correct.
        drop: Accuracy lost so far, as a fraction; None before the first scored question.
        log10_harm: Evidence that more than `tolerate` was lost.
        log10_harmless: Evidence that less than `catch` was lost.
        needed_harm: What the first must reach for REGRESSION.
        needed_harmless: What the second must reach for PASS.
        expected_remaining: Questions that are likely still needed at the present drop; None
            before anything can be said.
        harm: What `log10_harm` speaks against.
        harmless: What `log10_harmless` speaks against.
        paired: False against a floor.
    """

    questions: int
    population: int
    scored: int
    losses: int
    gains: int
    drop: float | None
    log10_harm: float
    log10_harmless: float
    needed_harm: float
    needed_harmless: float
    expected_remaining: int | None
    harm: str
    harmless: str
    paired: bool = True

    def __str__(self) -> str:
        counts = f"lost {self.losses}  gained {self.gains}"
        if not self.paired:
            counts = f"right {self.gains}  not right {self.losses}"
        drop = "–" if self.drop is None else f"{100 * self.drop:+.1f}"
        left = self.expected_remaining
        remaining = "" if not left else f"  about {left:,} to go"
        return (
            f"{self.questions} questions  {counts}  drop {drop}  "
            f"evidence against “{self.harm}” {self.log10_harm:.1f} of {self.needed_harm:.1f}, "
            f"against “{self.harmless}” {self.log10_harmless:.1f} of {self.needed_harmless:.1f}"
            f"{remaining}"
        )


def expected_remaining(
    policy: Policy,
    budget: Budget,
    *,
    drop: float,
    spread: float,
    scored: int,
    harm: float,
    harmless: float,
) -> int:
    """Returns the questions to go if the evidence grows as the present drop lets expect.

    Log-wealth grows by about (distance from the hypothesis)² / (2 · second moment) each
    question; the distance is taken as at least half the gap, as the true one is unknown. Once
    there is some evidence, its own pace counts where that is slower.

    Args:
        policy: The target's.
        budget: Error shares of the run.
        drop: Accuracy lost so far, as a fraction.
        spread: Second moment of a question's value, less the square of the scale's offset.
        scored: Questions scored so far, at least one.
        harm: Evidence of harm so far, as a natural logarithm.
        harmless: Evidence of harmlessness so far, likewise.
    """
    gap = policy.catch - policy.tolerate
    if drop > (policy.tolerate + policy.catch) / 2.0:
        distance, had, needed = drop - policy.tolerate, harm, -log(budget.pooled)
    else:
        distance, had, needed = policy.catch - drop, harmless, -log(budget.miss(policy))
    rate = max(distance, gap / 2.0) ** 2 / (2.0 * max(spread, 0.01))
    if had > _SOME * needed:
        rate = min(rate, had / scored)
    return max(0, round((needed - had) / rate))
