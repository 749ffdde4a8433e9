"""Whether a remedy makes a target contradict itself less, and what its contradictions hide.

Two looks at a target before a remedy are compared with two looks under it, on the same questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from capgate.common.answers import Answer
from capgate.common.errors import ConfigError
from capgate.gate.calibration import Rate, answered_otherwise
from capgate.gate.stats import mcnemar_exact

LEVEL: Final = 0.05
"""A remedy helps where chance would make as much of a difference no more often than this."""

Outcome = Literal["helps", "does not help", "too few to tell"]


@dataclass(frozen=True)
class Remedied:
    """How often a target contradicts itself before a remedy, and under it.

    Attributes:
        n: Questions that were answered in all four looks.
        before: Those that it answered in two ways before the remedy.
        after: Those that it answered in two ways under it.
        only_before: Those of `before` that are not among `after`.
        only_after: Those of `after` that are not among `before`.
        p: One-sided p-value of the exact McNemar test of "no fewer than before".
    """

    n: int
    before: Rate
    after: Rate
    only_before: int
    only_after: int
    p: float

    @property
    def removed(self) -> float | None:
        """Share of the contradictions that the remedy removes, in [0, 1]; None if none was seen."""
        if not self.before.count:
            return None
        return max(0.0, 1.0 - self.after.count / self.before.count)

    @property
    def outcome(self) -> Outcome:
        """Whether it helps, as far as these questions tell."""
        if self.p <= LEVEL:
            return "helps"
        # If it had removed all of them, would that have been seen?
        if 0.5**self.before.count > LEVEL:
            return "too few to tell"
        return "does not help" if self.after.count >= self.before.count else "too few to tell"


def compare_noise(
    before: tuple[Sequence[Answer], Sequence[Answer]],
    after: tuple[Sequence[Answer], Sequence[Answer]],
) -> Remedied:
    """Compares two looks at a target with two looks under a remedy.

    Args:
        before: The two looks before it.
        after: The two looks under it; all four have the same questions in the same order.

    Raises:
        ConfigError: No question was answered in all four looks.
    """
    rows = [
        (answered_otherwise(first, second), answered_otherwise(third, fourth))
        for first, second, third, fourth in zip(*before, *after, strict=True)
        if all(one.state.scored for one in (first, second, third, fourth))
    ]
    if not rows:
        raise ConfigError(
            "no question was answered in all four looks", remedy="see the faults in the run's logs"
        )
    only_before = sum(was and not still for was, still in rows)
    only_after = sum(still and not was for was, still in rows)
    return Remedied(
        n=len(rows),
        before=Rate.of_count(sum(was for was, _ in rows), len(rows)),
        after=Rate.of_count(sum(still for _, still in rows), len(rows)),
        only_before=only_before,
        only_after=only_after,
        p=mcnemar_exact(only_before, only_after),
    )


def with_flips(discordance: float, flips: float) -> float:
    """Returns how often two models differ in correctness, seen on a server that flips answers.

    A question differs where the models differ or the server flips, but not where both happen.

    Args:
        discordance: Share of questions on which the models differ by themselves, in [0, 1].
        flips: Share on which one model's two looks differ in correctness, in [0, 1].
    """
    return discordance + flips - 2.0 * discordance * flips


def without_flips(seen: float, flips: float) -> float:
    """Returns the share on which two models differ by themselves: `with_flips` turned round.

    Args:
        seen: Share of questions on which they were seen to differ, in [0, 1].
        flips: Share on which one model's two looks differ, in [0, 1]. Where that is all that was
            seen, nothing is left.
    """
    if flips >= 0.5:
        return 0.0
    return min(max(0.0, (seen - flips) / (1.0 - 2.0 * flips)), 1.0)
