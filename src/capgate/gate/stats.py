"""Tests and intervals for paired answers and for an accuracy against a floor.

Everything here is one-sided towards harm: a small p-value says that capability was lost.
A question is a *loss* where the reference was correct and the candidate was not, a *gain* the
other way round; the drop is `(losses - gains) / n`. Where a quantity can't be computed, the
function raises or returns None; it never stands in a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_VISIBLE_STEPS: Final = 16
"""Halvings of a visible drop: to 1e-5, far below one question in any benchmark."""

_INTERVAL_STEPS: Final = 48

HALF_A_QUESTION: Final = 0.5
"""Continuity correction: without it the score test errs a little (5.1 % for 5 %) too often."""

_TAIL: Final = 9.0
"""Standard deviations of the discordant count that a power is summed over."""


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: Lower end, as a fraction.
        high: Upper end, as a fraction.
        level: Two-sided confidence level, in (0, 1).
    """

    low: float
    high: float
    level: float


def mcnemar_exact(losses: int, gains: int) -> float:
    """Returns the exact one-sided p-value of "losses are no likelier than gains".

    Given which questions differ, an unchanged model loses each with probability one half, so
    the losses are binomial (McNemar 1947, in the exact form of Mosteller 1952). With no
    discordant question the p-value is 1.

    Raises:
        ValueError: If a count is negative.
    """
    if losses < 0 or gains < 0:
        raise ValueError(f"counts can't be negative: {losses} losses, {gains} gains")
    return _binomial_at_least(losses, losses + gains, 0.5)


def binomial_below(correct: int, n: int, accuracy: float) -> float:
    """Returns the exact p-value of "the true accuracy is at least `accuracy`".

    The chance of `correct` or fewer of `n` at exactly that accuracy.

    Raises:
        ValueError: If the counts don't fit or the accuracy is not in [0, 1].
    """
    _check_binomial(correct, n, accuracy)
    return _binomial_at_least(n - correct, n, 1.0 - accuracy)


def binomial_above(correct: int, n: int, accuracy: float) -> float:
    """Returns the exact p-value of "the true accuracy is at most `accuracy`".

    Raises:
        ValueError: If the counts don't fit or the accuracy is not in [0, 1].
    """
    _check_binomial(correct, n, accuracy)
    return _binomial_at_least(correct, n, accuracy)


def tango_score(
    losses: npt.ArrayLike,
    gains: npt.ArrayLike,
    n: npt.ArrayLike,
    drop: float,
    *,
    continuity: float = 0.0,
) -> Floats:
    """Returns the score statistic of "the true drop is `drop`"; large where it is larger.

    Asymptotically standard normal at that drop; at 0 it is McNemar's z. Source: Tango,
    *Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design*, Statistics in Medicine 17 (1998) 891–908, equations 24–26.

    Args:
        losses: Questions lost, any shape.
        gains: Questions gained, same shape.
        n: Questions scored, same shape or a scalar.
        drop: Hypothesised drop as a fraction, in (−1, 1).
        continuity: Questions by which the finding is moved towards the hypothesis.

    Raises:
        ValueError: If `drop` is outside (−1, 1).
    """
    if not -1.0 < drop < 1.0:
        raise ValueError(f"a drop lies between -1 and 1, not {drop}")
    b, c, size = (np.asarray(x, dtype=np.float64) for x in (losses, gains, n))
    linear = (2.0 * size - b + c) * drop - b - c
    constant = -c * drop * (1.0 - drop)
    root = np.sqrt(np.maximum(linear * linear - 8.0 * size * constant, 0.0))
    gain_rate = np.maximum((root - linear) / (4.0 * size), 0.0)
    variance = size * (2.0 * gain_rate + drop * (1.0 - drop))
    distance = b - c - size * drop
    distance = np.sign(distance) * np.maximum(np.abs(distance) - continuity, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = distance / np.sqrt(np.maximum(variance, 0.0))
    # No discordant question and no drop supposed: 0/0, whose limit from both sides is 0.
    return np.where(np.abs(distance) < 1e-12, 0.0, score)


def tango_p_above(
    losses: int, gains: int, n: int, drop: float, *, continuity: float = HALF_A_QUESTION
) -> float:
    """Returns the score test's p-value of "the true drop is at most `drop`"."""
    _check_paired(losses, gains, n)
    return float(special.ndtr(-tango_score(losses, gains, n, drop, continuity=continuity)))


def tango_p_below(
    losses: int, gains: int, n: int, drop: float, *, continuity: float = HALF_A_QUESTION
) -> float:
    """Returns the score test's p-value of "the true drop is at least `drop`"."""
    _check_paired(losses, gains, n)
    return float(special.ndtr(tango_score(losses, gains, n, drop, continuity=continuity)))


def tango_interval(losses: int, gains: int, n: int, *, level: float = 0.95) -> Interval:
    """Returns Tango's score interval for the drop: the drops that the score test keeps.

    Raises:
        ValueError: If the counts don't fit or the level is not in (0, 1).
    """
    _check_paired(losses, gains, n)
    z = _two_sided_z(level)
    estimate = (losses - gains) / n
    ends: list[float] = []
    for sign in (1.0, -1.0):
        # The score falls as the hypothesised drop grows: +z below the estimate, −z above it.
        kept, out = estimate, -sign * (1.0 - 1e-9)
        if sign * (estimate - out) <= 0.0:
            ends.append(-sign)
            continue
        for _ in range(_INTERVAL_STEPS):
            middle = (kept + out) / 2.0
            inside = sign * float(tango_score(losses, gains, n, middle)) <= z
            kept, out = (middle, out) if inside else (kept, middle)
        ends.append(kept)
    return Interval(ends[0], ends[1], level)


def clopper_pearson(correct: int, n: int, *, level: float = 0.95) -> Interval:
    """Returns the exact interval of a proportion (Clopper & Pearson, Biometrika 26, 1934).

    Raises:
        ValueError: If the counts don't fit or the level is not in (0, 1).
    """
    _check_binomial(correct, n, 0.5)
    _two_sided_z(level)
    tail = (1.0 - level) / 2.0
    low = float(special.betaincinv(correct, n - correct + 1, tail)) if correct else 0.0
    high = float(special.betaincinv(correct + 1, n - correct, 1.0 - tail)) if correct < n else 1.0
    return Interval(low, high, level)


def wilson(correct: int, n: int, *, level: float = 0.95) -> Interval:
    """Returns the score interval of a proportion (Wilson, JASA 22, 1927).

    Raises:
        ValueError: If the counts don't fit or the level is not in (0, 1).
    """
    _check_binomial(correct, n, 0.5)
    z = _two_sided_z(level)
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    return Interval(max(0.0, centre - half), min(1.0, centre + half), level)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Returns Holm's adjusted p-values in the order given.

    A hypothesis is rejected at `alpha` exactly where its adjusted value is at most `alpha`; the
    chance of any false rejection is then at most `alpha`, whatever the dependence. Source:
    Holm, Scandinavian Journal of Statistics 6 (1979) 65–70.

    Raises:
        ValueError: If a value is not in [0, 1].
    """
    if not all(0.0 <= p <= 1.0 for p in p_values):
        raise ValueError("a p-value lies between 0 and 1")
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)


@lru_cache(maxsize=4096)
def smallest_visible_drop(
    n: int, *, discordance: float, alpha: float, power: float
) -> float | None:
    """Returns the smallest true drop that the exact McNemar test would usually find.

    Power is exact: summed over the discordant count, binomial in `n`, of the chance that the
    losses among them are significant. A drop larger than `discordance` raises the discordance
    with it, for a drop is at most all that differs.

    Args:
        n: Questions scored.
        discordance: Share of questions where the two sides differ, in [0, 1].
        alpha: One-sided level of the test, in (0, 1).
        power: Chance of being found that counts as "visible", in (0, 1).

    Returns:
        The drop as a fraction, or None where even losing every question would not be visible.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if n < 1:
        raise ValueError("no question was scored")
    _check_share(discordance, "discordance", closed=True)
    _check_share(alpha, "alpha")
    _check_share(power, "power")
    if 0.5**n > alpha:
        return None
    return _bisect(lambda drop: _mcnemar_power(n, max(discordance, drop), drop, alpha) >= power)


def smallest_visible_shortfall(n: int, *, floor: float, alpha: float, power: float) -> float | None:
    """Returns how far under `floor` an accuracy must lie for the exact test to usually find it.

    Returns:
        The shortfall as a fraction, or None where even an accuracy of 0 would not be visible.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if n < 1:
        raise ValueError("no question was scored")
    _check_share(floor, "floor", closed=True)
    _check_share(alpha, "alpha")
    _check_share(power, "power")
    counts = np.arange(n + 1)
    significant = counts[special.bdtr(counts, n, floor) <= alpha]
    if not len(significant):
        return None
    limit = int(significant[-1])
    return _bisect(
        lambda drop: bool(special.bdtr(limit, n, max(floor - drop, 0.0)) >= power), top=floor
    )


def _mcnemar_power(n: int, discordance: float, drop: float, alpha: float) -> float:
    """Returns the chance that the exact test is significant at a given true drop."""
    spread = _TAIL * np.sqrt(n * discordance * (1.0 - discordance)) + _TAIL
    centre = n * discordance
    differing = np.arange(max(0, int(centre - spread)), min(n, int(centre + spread)) + 1)
    needed = _losses_needed(differing, alpha)
    lost_share = 0.5 * (1.0 + drop / discordance) if discordance > 0.0 else 0.5
    found = np.where(
        needed > differing, 0.0, special.bdtrc(np.maximum(needed - 1, -1), differing, lost_share)
    )
    found = np.where((needed <= 0) & (needed <= differing), 1.0, found)
    return float(np.sum(_binomial_pmf(differing, n, discordance) * found))


def _losses_needed(differing: Ints, alpha: float) -> Ints:
    """Returns, for each discordant count, the fewest losses with p ≤ alpha (count + 1 if none)."""
    low, high = np.zeros_like(differing), differing + 1
    while np.any(low < high):
        middle = (low + high) // 2
        p = np.where(
            middle == 0, 1.0, special.betainc(np.maximum(middle, 1), differing - middle + 1, 0.5)
        )
        enough = (p <= alpha) | (middle > differing)
        high = np.where(enough, middle, high)
        low = np.where(enough, low, np.minimum(middle + 1, high))
    return high


def _binomial_pmf(k: Ints, n: int, p: float) -> Floats:
    log_choose = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    mass: Floats = np.exp(log_choose + special.xlogy(k, p) + special.xlog1py(n - k, -p))
    return mass


def _binomial_at_least(k: int, n: int, p: float) -> float:
    """Returns P(X ≥ k) of a binomial, by the incomplete beta function (exact in the far tail)."""
    return 1.0 if k <= 0 else float(special.betainc(k, n - k + 1, p))


def _bisect(visible: Callable[[float], bool], *, top: float = 1.0) -> float | None:
    """Returns the smallest drop in [0, top] that is visible, None where not even `top` is."""
    if not visible(top):
        return None
    low, high = 0.0, top
    for _ in range(_VISIBLE_STEPS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if visible(middle) else (middle, high)
    return high


def _two_sided_z(level: float) -> float:
    _check_share(level, "level")
    return float(special.ndtri(0.5 + level / 2.0))


def _check_share(value: float, name: str, *, closed: bool = False) -> None:
    inside = 0.0 <= value <= 1.0 if closed else 0.0 < value < 1.0
    if not inside:
        raise ValueError(f"{name} lies between 0 and 1, not {value}")


def _check_paired(losses: int, gains: int, n: int) -> None:
    if n < 1 or losses < 0 or gains < 0 or losses + gains > n:
        raise ValueError(f"{losses} losses and {gains} gains can't be of {n} questions")


def _check_binomial(correct: int, n: int, accuracy: float) -> None:
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} correct can't be of {n} questions")
    _check_share(accuracy, "accuracy", closed=True)
