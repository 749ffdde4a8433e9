"""How small a drop a test would usually see: at its stated power, by the test really applied.

    visible_drop(100, discordance=0.1, alpha=0.0125 / 57, power=0.95)      # exact paired test
    visible_drops(1319, Policy(), share=0.025)                             # by discordance
    visible_shortfall(400, floor=0.7, alpha=0.025, power=0.95)             # exact binomial test
    visible_in_play(process, questions=640, chances=chances, power=0.95)   # sequential rule

Each returns None where a test would miss even the largest possible drop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from capgate.gate import stats
from capgate.gate.policy import Policy
from capgate.gate.sequential import EProcess
from capgate.gate.stats import Floats, Ints

DISCORDANCES: Final = (0.05, 0.10, 0.20)
"""Shares of questions where two related models differ: little, usual, much."""

_STEPS: Final = 16
"""Halvings of a visible drop: to 1e-5, far below one question in any benchmark."""

_NODES: Final = 7
"""Counts of gains at which the losses that suffice are exact where some are tolerated."""


@lru_cache(maxsize=4096)
def visible_drop(
    n: int, *, discordance: float, alpha: float, power: float, tolerate: float = 0.0
) -> float | None:
    """Returns the smallest true drop that the exact paired test would usually find.

    Power is summed over all likely counts of losses and gains. A drop larger than `discordance`
    raises the discordance with it, for a drop is at most all that differs.

    Args:
        n: Questions scored.
        discordance: Share of questions where the two sides differ, in [0, 1].
        alpha: One-sided level of the test, in (0, 1).
        power: Chance of being found that counts as "visible", in (0, 1).
        tolerate: The drop that the test lets pass, in [0, 1).

    Returns:
        The drop as a fraction, or None where even losing every question would not be visible.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if n < 1:
        raise ValueError("no question was scored")
    stats.check_share(discordance, "discordance", closed=True)
    stats.check_share(alpha, "alpha")
    stats.check_share(power, "power")
    if 0.5**n > alpha:
        return None
    needed = _losses_needed(n, alpha, tolerate)

    def chance(drop: float) -> float:
        gain_rate = (max(discordance, drop) - drop) / 2.0
        first, last = stats.likely_counts(n, gain_rate)
        gained = np.arange(first, last + 1)
        lost_rate = min((gain_rate + drop) / (1.0 - gain_rate), 1.0)
        found = stats.binomial_at_least(needed(gained), n - gained, lost_rate)
        return float(np.sum(stats.binomial_pmf(gained, n, gain_rate) * found))

    return _smallest(lambda drop: chance(drop) >= power)


def visible_drops(
    n: int, policy: Policy, *, share: float, discordances: Sequence[float] = DISCORDANCES
) -> dict[float, float | None]:
    """Returns the smallest drop that a benchmark of some size usually shows, by discordance.

    A smaller `catch` can't be decided there: a loss of it would as a rule be neither found nor
    ruled out.

    Args:
        n: Questions of the benchmark.
        policy: The benchmark's, with its `miss` and `tolerate`.
        share: Of the benchmark's own test (`Budget.pooled`).
        discordances: Shares of questions where the two sides differ.

    Returns:
        Discordance to the drop as a fraction, or None where nothing would be visible.

    Raises:
        ValueError: If `n` is not positive or the share is not in (0, 1).
    """
    return {
        one: visible_drop(
            n, discordance=one, alpha=share, power=1.0 - policy.miss, tolerate=policy.tolerate
        )
        for one in discordances
    }


def visible_shortfall(
    n: int, *, floor: float, alpha: float, power: float, tolerate: float = 0.0
) -> float | None:
    """Returns how far under `floor` an accuracy must lie for the exact test to usually find it.

    Args:
        n: Questions scored.
        floor: The accuracy demanded, in [0, 1].
        alpha: One-sided level of the test of "accuracy ≥ floor − tolerate", in (0, 1).
        power: Chance of being found that counts as "visible", in (0, 1).
        tolerate: The drop that the test lets pass.

    Returns:
        The shortfall as a fraction, or None where even an accuracy of 0 would not be visible.

    Raises:
        ValueError: If an argument is out of its range.
    """
    from scipy import special

    if n < 1:
        raise ValueError("no question was scored")
    stats.check_share(floor, "floor", closed=True)
    stats.check_share(alpha, "alpha")
    stats.check_share(power, "power")
    counts = np.arange(n + 1)
    significant = counts[special.bdtr(counts, n, max(floor - tolerate, 0.0)) <= alpha]
    if not len(significant):
        return None
    limit = int(significant[-1])
    return _smallest(
        lambda drop: bool(special.bdtr(limit, n, max(floor - drop, 0.0)) >= power), top=floor
    )


def visible_in_play(
    process: EProcess,
    *,
    questions: int,
    chances: Callable[[float], tuple[Floats, Floats]],
    power: float,
    top: float = 1.0,
) -> float | None:
    """Returns the smallest true drop that an e-process would usually find in time.

    Args:
        process: The e-process against "no more than `tolerate` was lost", before any question.
        questions: Questions scored.
        chances: Maps a drop to the values that a question can have and their chances.
        power: Chance of being found that counts as "visible", in (0, 1).
        top: Largest possible drop.
    """
    return _smallest(
        lambda drop: process.chance_of_enough(*chances(drop), questions) >= power, top=top
    )


def _losses_needed(n: int, alpha: float, tolerate: float) -> Callable[[Ints], Ints]:
    """Returns a function from counts of gains to the fewest losses that are significant."""

    def mcnemar(gained: Ints) -> Ints:
        return stats.fewest(
            lambda lost: stats.binomial_at_least(lost, lost + gained, 0.5) <= alpha,
            np.zeros_like(gained),
            n - gained,
        )

    if tolerate <= 0.0:
        return mcnemar
    # The square of what must be lost beyond gains and tolerance grows nearly evenly with them.
    nodes = np.unique(np.round(n * np.linspace(0.0, np.sqrt(0.5), _NODES) ** 2).astype(np.int64))
    exact = np.array([_fewest_exact(int(gains), n, alpha, tolerate) for gains in nodes])
    squares = (exact - nodes - n * tolerate) ** 2

    def both(gained: Ints) -> Ints:
        beyond = np.sqrt(np.interp(gained, nodes, squares))
        tolerated = np.round(gained + n * tolerate + beyond).astype(np.int64)
        needed: Ints = np.maximum(tolerated, mcnemar(gained))
        return needed

    return both


def _fewest_exact(gains: int, n: int, alpha: float, tolerate: float) -> int:
    """Returns the fewest losses that the exact test of a tolerated drop finds significant."""
    low, beyond = 0, n - gains + 1
    while low < beyond:
        middle = (low + beyond) // 2
        if stats.tango_p_above(middle, gains, n, tolerate) <= alpha:
            beyond = middle
        else:
            low = middle + 1
    return beyond


def _smallest(visible: Callable[[float], bool], *, top: float = 1.0) -> float | None:
    """Returns the smallest drop in [0, top] that is visible, None where not even `top` is."""
    if not visible(top):
        return None
    low, high = 0.0, top
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if visible(middle) else (middle, high)
    return high
