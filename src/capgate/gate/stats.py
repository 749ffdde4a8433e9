"""Tests and intervals for paired answers and for an accuracy against a floor.

Everything here is one-sided towards harm: a small p-value says that capability was lost.
A question is a *loss* where the reference was correct and the candidate was not, a *gain* the
other way round; the drop is `(losses - gains) / n`. Where a quantity can't be computed, the
function raises or returns None; it never stands in a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_INTERVAL_STEPS: Final = 48

HALF_A_QUESTION: Final = 0.5
"""Continuity correction: without it the score test errs a little (5.1 % for 5 %) too often."""

_TAIL: Final = 9.0
"""Standard deviations of a count that a chance is summed over, and as many questions."""

_RATES_LEFT_OUT: Final = 1e-9
"""Chance that the true rate of gains lies outside those that the exact test looks at."""

_RATES: Final = 24
"""Rates of gains that it looks at: half a standard deviation apart, which is smooth enough."""


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


def hull(intervals: Sequence[Interval]) -> Interval:
    """Returns the smallest interval that holds all of `intervals`, of the first one's level."""
    lows, highs = [one.low for one in intervals], [one.high for one in intervals]
    return Interval(min(lows), max(highs), intervals[0].level)


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
    return float(binomial_at_least(np.asarray(losses), losses + gains, 0.5))


def binomial_below(correct: int, n: int, accuracy: float) -> float:
    """Returns the exact p-value of "the true accuracy is at least `accuracy`".

    The chance of `correct` or fewer of `n` at exactly that accuracy.

    Raises:
        ValueError: If the counts don't fit or the accuracy is not in [0, 1].
    """
    _check_binomial(correct, n, accuracy)
    return float(binomial_at_least(np.asarray(n - correct), n, 1.0 - accuracy))


def binomial_above(correct: int, n: int, accuracy: float) -> float:
    """Returns the exact p-value of "the true accuracy is at most `accuracy`".

    Raises:
        ValueError: If the counts don't fit or the accuracy is not in [0, 1].
    """
    _check_binomial(correct, n, accuracy)
    return float(binomial_at_least(np.asarray(correct), n, accuracy))


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


def tango_p_above(losses: int, gains: int, n: int, drop: float) -> float:
    """Returns the exact p-value of "the true drop is at most `drop`", at any number of questions.

    Outcomes are ranked by Tango's score; the p-value is the chance of one that ranks as high at
    the rate of gains where it is largest, among those that the gains seen leave possible. The
    normal approximation errs up to three times too often at a subject's small share. Source:
    Berger & Boos, JASA 89 (1994) 1012–1016.

    Args:
        losses: Questions lost.
        gains: Questions gained.
        n: Questions scored.
        drop: Hypothesised drop as a fraction, in [0, 1).

    Raises:
        ValueError: If the counts don't fit or the drop is out of its range.
    """
    _check_paired(losses, gains, n)
    if not 0.0 <= drop < 1.0:
        raise ValueError(f"the exact test is of a drop between 0 and 1, not {drop}")
    largest = (1.0 - drop) / 2.0
    low, high, _ = clopper_pearson(gains, n, level=1.0 - _RATES_LEFT_OUT)
    ends = np.arcsin(np.sqrt(np.minimum((low, high), largest)))
    rates = np.minimum(np.sin(np.linspace(ends[0], ends[1], _RATES)) ** 2, largest)[:, None]
    first, _ = likely_counts(n, float(rates[0, 0]))
    _, last = likely_counts(n, float(rates[-1, 0]))
    gained = np.arange(first, last + 1)
    rank = float(tango_score(losses, gains, n, drop)) - 1e-9
    needed = fewest(
        lambda lost: tango_score(lost, gained, n, drop) >= rank, np.zeros_like(gained), n - gained
    )
    chance = binomial_pmf(gained, n, rates) * binomial_at_least(
        needed, n - gained, np.minimum((rates + drop) / (1.0 - rates), 1.0)
    )
    return min(1.0, float(chance.sum(axis=1).max()) + _RATES_LEFT_OUT)


def tango_p_below(
    losses: int, gains: int, n: int, drop: float, *, continuity: float = HALF_A_QUESTION
) -> float:
    """Returns the score test's p-value of "the true drop is at least `drop`"."""
    from scipy import special

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
    from scipy import special

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


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> tuple[float, ...]:
    """Returns Holm's adjusted p-values in the order given, weighted where weights are given.

    A hypothesis is rejected at `alpha` exactly where its adjusted value is at most `alpha`; the
    chance of any false rejection is then at most `alpha`, also where the tests depend on each
    other. Any hypothesis whose own p-value is at most its weight's part of `alpha` is rejected.
    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65–70, section 4 for the weights.

    Args:
        p_values: One of each hypothesis.
        weights: Positive; only their proportions count. Equal ones by default.

    Raises:
        ValueError: If a value is not in [0, 1], or the weights are not positive or not as many.
    """
    if not all(0.0 <= p <= 1.0 for p in p_values):
        raise ValueError("a p-value lies between 0 and 1")
    sizes = [1.0] * len(p_values) if weights is None else list(weights)
    if len(sizes) != len(p_values) or not all(weight > 0.0 for weight in sizes):
        raise ValueError("each p-value needs a positive weight")
    adjusted = [1.0] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda index: p_values[index] / sizes[index])
    highest = 0.0
    for rank, index in enumerate(order):
        left = sum(sizes[other] for other in order[rank:]) / sizes[index]
        highest = max(highest, min(1.0, left * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def likely_counts(n: int, rate: float) -> tuple[int, int]:
    """Returns the range outside which a binomial count practically never falls."""
    spread = _TAIL * np.sqrt(n * rate * (1.0 - rate)) + _TAIL
    return max(0, int(n * rate - spread)), min(n, int(n * rate + spread))


def fewest(enough: Callable[[Ints], Bools], low: Ints, high: Ints) -> Ints:
    """Returns, element by element, the smallest count in [low, high] that is enough.

    Args:
        enough: Tells of counts whether each suffices; where one does, so do all larger ones.
        low: Smallest counts to consider.
        high: Largest; where not even that suffices, `high + 1` is returned.
    """
    low, beyond = low.copy(), high + 1
    while np.any(low < beyond):
        middle = (low + beyond) // 2
        found = enough(np.minimum(middle, high)) | (middle > high)
        beyond = np.where(found, middle, beyond)
        low = np.where(found, low, np.minimum(middle + 1, beyond))
    return beyond


def binomial_pmf(k: Ints, n: int | Ints, p: float | Floats) -> Floats:
    """Returns P(X = k) of a binomial, broadcasting."""
    from scipy import special

    log_choose = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    mass: Floats = np.exp(log_choose + special.xlogy(k, p) + special.xlog1py(n - k, np.negative(p)))
    return mass


def binomial_at_least(k: Ints, n: int | Ints, p: float | Floats) -> Floats:
    """Returns P(X ≥ k) of a binomial, broadcasting (exact in the far tail)."""
    from scipy import special

    inside = special.betainc(np.maximum(k, 1), np.maximum(n - k + 1, 1), p)
    chance: Floats = np.where(k <= 0, 1.0, np.where(k > n, 0.0, inside))
    return chance


def _two_sided_z(level: float) -> float:
    from scipy import special

    check_share(level, "level")
    return float(special.ndtri(0.5 + level / 2.0))


def check_share(value: float, name: str, *, closed: bool = False) -> None:
    """Raises `ValueError` if a value does not lie between 0 and 1."""
    inside = 0.0 <= value <= 1.0 if closed else 0.0 < value < 1.0
    if not inside:
        raise ValueError(f"{name} lies between 0 and 1, not {value}")


def _check_paired(losses: int, gains: int, n: int) -> None:
    if n < 1 or losses < 0 or gains < 0 or losses + gains > n:
        raise ValueError(f"{losses} losses and {gains} gains can't be of {n} questions")


def _check_binomial(correct: int, n: int, accuracy: float) -> None:
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} correct can't be of {n} questions")
    check_share(accuracy, "accuracy", closed=True)
