"""Exact tests agree with scipy's, intervals with published examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, multinomial, norm

from capgate.gate import stats
from capgate.gate.power import visible_drop, visible_shortfall

counts = st.integers(min_value=0, max_value=400)


@given(losses=counts, gains=counts)
def test_mcnemar_agrees_with_the_binomial_test(losses: int, gains: int) -> None:
    """The exact McNemar test is scipy's one-sided binomial test on the discordant questions."""
    n = losses + gains
    expected = binomtest(losses, n, 0.5, alternative="greater").pvalue if n else 1.0
    assert stats.mcnemar_exact(losses, gains) == pytest.approx(expected, rel=1e-9)


@given(n=st.integers(1, 500), share=st.floats(0.0, 1.0), accuracy=st.floats(0.01, 0.99))
def test_floor_tests_agree_with_the_binomial_test(n: int, share: float, accuracy: float) -> None:
    """Both exact tests against an accuracy are scipy's one-sided binomial tests."""
    correct = round(share * n)
    below = binomtest(correct, n, accuracy, alternative="less").pvalue
    above = binomtest(correct, n, accuracy, alternative="greater").pvalue
    assert stats.binomial_below(correct, n, accuracy) == pytest.approx(below, rel=1e-7, abs=1e-300)
    assert stats.binomial_above(correct, n, accuracy) == pytest.approx(above, rel=1e-7, abs=1e-300)


@given(n=st.integers(1, 500), share=st.floats(0.0, 1.0), level=st.floats(0.5, 0.999))
def test_proportion_intervals_agree_with_scipy(n: int, share: float, level: float) -> None:
    """Clopper–Pearson and Wilson intervals are scipy's."""
    correct = round(share * n)
    test = binomtest(correct, n)
    for ours, method in ((stats.clopper_pearson, "exact"), (stats.wilson, "wilson")):
        theirs = test.proportion_ci(level, method=method)
        low, high, _ = ours(correct, n, level=level)
        assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-8)


@pytest.mark.parametrize(
    ("correct", "n", "wilson", "exact"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_proportion_intervals_of_newcombe(
    correct: int, n: int, wilson: tuple[float, float], exact: tuple[float, float]
) -> None:
    """The four examples of Newcombe, Statistics in Medicine 17 (1998) 857–872, table I."""
    assert stats.wilson(correct, n)[:2] == pytest.approx(wilson, abs=6e-5)
    assert stats.clopper_pearson(correct, n)[:2] == pytest.approx(exact, abs=6e-5)


def test_tango_contact_lenses() -> None:
    """Tango 1998, section 6.1 (44 pairs, 0 and 1 discordant): Z 1.709, p 0.044, limit −0.096."""
    assert float(stats.tango_score(0, 1, 44, -0.1)) == pytest.approx(1.709, abs=5e-4)
    assert norm.sf(stats.tango_score(0, 1, 44, -0.1)) == pytest.approx(0.044, abs=5e-4)
    assert stats.tango_interval(0, 1, 44, level=0.9).low == pytest.approx(-0.096, abs=5e-4)


def test_tango_airway_example() -> None:
    """21 pairs, 1 and 7 discordant: −0.517 to −0.026.

    Fagerland, Lydersen & Laake, Statistical Analysis of Contingency Tables (2017), chapter 8,
    on the data of Bentur et al. 2009.
    """
    low, high, _ = stats.tango_interval(1, 7, 21)
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("alpha", [0.025, 0.0125 / 57])
@pytest.mark.parametrize(("n", "tolerate"), [(60, 0.05), (135, 0.06), (150, 0.03)])
def test_a_tolerated_drop_fails_no_more_often_than_stated(
    n: int, tolerate: float, alpha: float
) -> None:
    """Summed over all outcomes, a true drop of just what is tolerated is rejected in its share."""
    rejected = [
        [(b, c, n - b - c) for b in range(n - c, -1, -1) if _significant(b, c, n, tolerate, alpha)]
        for c in range(n // 3)
    ]
    worst = max(
        sum(
            multinomial.pmf(outcomes, n, [gain + tolerate, gain, 1 - 2 * gain - tolerate]).sum()
            for outcomes in rejected
            if outcomes
        )
        for gain in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
    )
    assert 0.3 * alpha <= worst <= alpha


def _significant(losses: int, gains: int, n: int, tolerate: float, alpha: float) -> bool:
    # The normal approximation tells quickly where the exact test need not be asked.
    if norm.sf(float(stats.tango_score(losses, gains, n, tolerate))) > 3 * alpha:
        return False
    return stats.tango_p_above(losses, gains, n, tolerate) <= alpha


@given(losses=counts, gains=counts, same=st.integers(1, 2000), drop=st.floats(0.0, 0.5))
def test_more_losses_are_never_less_significant(
    losses: int, gains: int, same: int, drop: float
) -> None:
    """One question more that is lost lowers the p-value against a tolerated drop, or keeps it."""
    n = losses + gains + same
    p = stats.tango_p_above(losses, gains, n, drop)
    assert stats.tango_p_above(losses + 1, gains, n, drop) <= p + 1e-12
    assert 0.0 <= p <= 1.0


@given(losses=counts, gains=counts, same=st.integers(1, 2000))
def test_swapping_the_sides_mirrors_the_interval(losses: int, gains: int, same: int) -> None:
    """A drop's interval, mirrored, is the gain's; both hold the estimate."""
    n = losses + gains + same
    low, high, _ = stats.tango_interval(losses, gains, n)
    mirrored = stats.tango_interval(gains, losses, n)
    assert (low, high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-9)
    assert low < (losses - gains) / n < high


@given(losses=counts, gains=counts, same=st.integers(1, 2000))
def test_interval_ends_are_where_the_score_test_turns(losses: int, gains: int, same: int) -> None:
    """At both ends of the interval the score statistic is at its critical value."""
    n = losses + gains + same
    low, high, _ = stats.tango_interval(losses, gains, n)
    assert float(stats.tango_score(losses, gains, n, low)) == pytest.approx(1.959964, abs=1e-4)
    assert float(stats.tango_score(losses, gains, n, high)) == pytest.approx(-1.959964, abs=1e-4)


def test_holm_example() -> None:
    """Holm's adjusted p-values multiply by the hypotheses left and never fall."""
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0.001, 0.2))
def test_holm_rejects_at_least_what_bonferroni_does(p: list[float], alpha: float) -> None:
    """A subject that fails alone at its Bonferroni share also fails in the suite's test."""
    for one, adjusted in zip(p, stats.holm(p), strict=True):
        assert one <= adjusted <= 1.0
        if one <= alpha / len(p) * (1 - 1e-12):
            assert adjusted <= alpha


@pytest.mark.parametrize(("n", "discordance"), [(100, 0.02), (100, 0.2), (390, 0.1), (1534, 0.3)])
def test_the_visible_drop_is_seen_as_often_as_said(n: int, discordance: float) -> None:
    """Simulated, the smallest visible drop is found with its stated power and no more."""
    alpha, power = 0.0125 / 57, 0.8
    drop = visible_drop(n, discordance=discordance, alpha=alpha, power=power)
    assert drop is not None
    rate = max(discordance, drop)
    rng = np.random.default_rng(5)
    draws = rng.multinomial(n, [(rate + drop) / 2, (rate - drop) / 2, 1 - rate], size=20_000)
    losses, gains = draws[:, 0], draws[:, 1]
    found = np.mean(binom.sf(losses - 1, losses + gains, 0.5) <= alpha)
    assert found == pytest.approx(power, abs=0.012)


@pytest.mark.parametrize(
    ("n", "discordance", "tolerate", "alpha"),
    [(100, 0.3, 0.05, 0.0125 / 57), (500, 0.1, 0.05, 0.025), (2000, 0.1, 0.03, 0.025)],
)
def test_beyond_a_tolerated_drop_as_much_is_seen_as_said(
    n: int, discordance: float, tolerate: float, alpha: float
) -> None:
    """The drop named lies beyond what is tolerated and is seen as often as said."""
    drop = visible_drop(n, discordance=discordance, alpha=alpha, power=0.9, tolerate=tolerate)
    assert drop is not None
    assert drop > tolerate
    rate = max(discordance, drop)
    draws = np.random.default_rng(6).multinomial(
        n, [(rate + drop) / 2, (rate - drop) / 2, 1 - rate], size=1500
    )
    p = [
        max(stats.mcnemar_exact(b, c), stats.tango_p_above(b, c, n, tolerate))
        for b, c in draws[:, :2].tolist()
    ]
    assert np.mean(np.array(p) <= alpha) == pytest.approx(0.9, abs=0.03)


def test_a_hundred_questions_show_only_a_collapse() -> None:
    """With 100 questions at a subject's Bonferroni share, 12 to 25 points are visible."""
    drop = visible_drop(100, discordance=0.1, alpha=0.0125 / 57, power=0.8)
    assert drop is not None
    assert 0.12 < drop < 0.25


def test_nothing_is_visible_in_too_few_questions() -> None:
    """Where losing every question would not be significant, no drop is visible: None, never 0."""
    assert visible_drop(4, discordance=0.5, alpha=0.05, power=0.8) is None
    assert visible_shortfall(2, floor=0.5, alpha=0.01, power=0.8) is None


def test_the_visible_shortfall_is_seen_as_often_as_said() -> None:
    """At the smallest visible shortfall the exact binomial test has its stated power."""
    n, floor, alpha, power, tolerate = 400, 0.7, 0.01, 0.9, 0.05
    shortfall = visible_shortfall(n, floor=floor, alpha=alpha, power=power, tolerate=tolerate)
    assert shortfall is not None
    limit = max(k for k in range(n) if binom.cdf(k, n, floor - tolerate) <= alpha)
    assert binom.cdf(limit, n, floor - shortfall) == pytest.approx(power, abs=1e-3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.mcnemar_exact(-1, 2),
        lambda: stats.binomial_below(3, 2, 0.5),
        lambda: stats.binomial_above(1, 2, 1.5),
        lambda: stats.tango_interval(1, 1, 0),
        lambda: stats.tango_interval(2, 2, 3),
        lambda: stats.tango_interval(1, 1, 9, level=1.0),
        lambda: stats.tango_score(1, 1, 9, 1.0),
        lambda: stats.clopper_pearson(0, 0),
        lambda: stats.holm([float("nan")]),
        lambda: visible_drop(0, discordance=0.1, alpha=0.05, power=0.8),
        lambda: visible_drop(9, discordance=0.1, alpha=0.0, power=0.8),
    ],
)
def test_what_cannot_be_computed_raises(call: object) -> None:
    """Impossible counts and levels raise; no number is made up for them."""
    with pytest.raises(ValueError, match=r"\d|p-value|scored"):
        call()  # type: ignore[operator]
