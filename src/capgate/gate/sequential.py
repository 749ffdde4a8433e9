"""Evidence that may be looked at after every question.

An *e-process* is a gambler's wealth. It starts at 1, and each question multiplies it by
`1 + stake * (value - m)`, where `m` is the largest mean that the hypothesis allows. If each value,
given all before it, is at most `m` on average, the wealth is not expected to grow. Then the chance
that it *ever* reaches `1 / alpha` is at most `alpha` (Ville's inequality), for any number of looks
and any rule of stopping.

This holds where questions are drawn independently from all that could be asked. It also holds for
a fixed list of questions where each question's own mean is at most `m`: an unchanged model whose
answers vary from run to run. `m` stays the same throughout. To lower it by what was lost already
is right where a fixed list of *answers* is drawn without replacement, and wrong in both these
cases.

Source: Waudby-Smith & Ramdas, *Estimating means of bounded random variables by betting* (JRSS-B
86, 2024; read 2023). The stakes are ours. Each of a few bets stands for a true mean that the
test should recognise, and stakes what is best (in the growth of log-wealth) for that mean at the
second moment seen so far. Together they never stake more than they need to reach `1 / alpha`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_LARGEST_STAKE: Final = 0.95
"""Share of the wealth that one question may cost at most: no single answer may ruin a bet."""

_LEAST_SPREAD: Final = 1e-4
"""Mean squared distance from the hypothesis that a bet reckons with at least."""

_LEAST_PART: Final = 0.5
"""Part of the stake that is played however little is lacking: where the answer to most questions
is the same on both sides, each brings the second gambler a little, and it would never arrive."""

_LEAST: Final = 1e-300
"""What a lost wealth is taken for, so that its logarithm stays finite."""

_STEP: Final = 0.5826
"""Standard deviations of one question that a walk in steps lags behind a Brownian motion
(Siegmund, *Sequential Analysis*, 1985, chapter X)."""

_MOMENTS: Final = 16
"""Moments of a run to come whose stakes are averaged: they change while the spread is learned."""

_ROUNDING: Final = 1e-9
"""Share of the wealth aimed for that may be lacking by rounding."""


class Bet(NamedTuple):
    """One bet of a mixture.

    Attributes:
        distance: How far from the hypothesis the mean lies that this bet is best at recognising.
        weight: Its share of the starting wealth, in (0, 1].
    """

    distance: float
    weight: float


@dataclass(frozen=True, slots=True)
class Spread:
    """What is assumed of the values' second moment before any is seen.

    Attributes:
        second_moment: Guess of the mean square of the values, in (0, 1].
        questions: How many questions the guess is worth.
    """

    second_moment: float
    questions: float


class EProcess:
    """Wealth against "the mean is at most `null_mean`", for many orders at once.

    Args:
        null_mean: Largest mean under the hypothesis; one for all orders, or of each its own.
        low: Smallest value that a question can have.
        high: Largest.
        log_enough: Natural log of the wealth that suffices, `1 / alpha`. Once it is reached
            nothing more is staked, so wealth never exceeds it.
        bets: The mixture; weights sum to 1.
        spread: Prior of the second moment; the data take over within some dozens of questions.
        orders: How many random orders are followed side by side.

    Attributes:
        log_now: Natural log of the wealth after the last question, shape `(orders,)`.
        log_peak: Natural log of the largest wealth so far, same shape: what Ville bounds. Equal
            to `log_enough` where that was reached.

    Raises:
        ValueError: If `orders` or `log_enough` is not positive or the weights don't sum to 1.
    """

    def __init__(
        self,
        *,
        null_mean: float | Floats,
        low: float,
        high: float,
        log_enough: float,
        bets: Sequence[Bet],
        spread: Spread,
        orders: int = 1,
    ) -> None:
        if orders < 1 or log_enough <= 0.0:
            raise ValueError("an e-process needs at least one order and a wealth to aim for")
        if abs(sum(bet.weight for bet in bets) - 1.0) > 1e-9:
            raise ValueError("the weights of the bets must sum to 1")
        self._m = np.full(orders, null_mean)
        self._low, self._high = low, high
        self._log_enough, self._enough = log_enough, float(np.exp(log_enough))
        self._distances = np.array([bet.distance for bet in bets])[:, None, None]
        self._spread = spread
        self._seen = 0
        self._sum = np.zeros(orders)
        self._squares = np.zeros(orders)
        self._start = np.array([bet.weight for bet in bets])
        self._wealth = np.repeat(self._start[:, None], orders, axis=1)
        self.log_now: Floats = np.zeros(orders)
        self.log_peak: Floats = np.zeros(orders)

    def update(self, values: Floats) -> Floats:
        """Plays the next questions.

        Args:
            values: Shape `(orders, questions)`, in the order drawn.

        Returns:
            Natural log of the wealth after each question, same shape.
        """
        if values.shape[1] == 0:
            return np.empty(values.shape)
        stakes = self._stakes(values)
        moves = values - self._m[:, None]
        # In order of play, and so that each question's figures lie side by side.
        in_turn = np.ascontiguousarray(stakes.transpose(2, 0, 1)), np.ascontiguousarray(moves.T)
        most = np.maximum(self._high - self._m, _LEAST)
        wealth, path = self._wealth, np.empty(values.shape[::-1])
        total = wealth.sum(axis=0)
        for at, (stake, move) in enumerate(zip(*in_turn, strict=True)):
            staked = wealth * stake
            could_win = np.maximum(staked.sum(axis=0) * most, _LEAST)
            lacking = np.maximum(self._enough - total, 0.0)
            share = np.clip(lacking / could_win, _LEAST_PART * (lacking > 0.0), 1.0)
            staked *= share * move
            wealth += staked
            path[at] = total = wealth.sum(axis=0)
        path = path.T
        log_wealth: Floats = np.log(np.maximum(path, _LEAST))
        log_wealth[path >= self._enough * (1.0 - _ROUNDING)] = self._log_enough
        self.log_now = log_wealth[:, -1]
        self.log_peak = np.maximum(self.log_peak, log_wealth.max(axis=1))
        return log_wealth

    def _stakes(self, values: Floats) -> Floats:
        """Returns what each bet stakes of its own wealth, shape `(bets, orders, questions)`.

        A question's stakes depend on those before it alone.
        """
        before = self._seen + np.arange(values.shape[1])
        sums = self._sum[:, None] + np.cumsum(values, axis=1)
        squares = self._squares[:, None] + np.cumsum(values * values, axis=1)
        m, prior = self._m[:, None], self._spread
        weight = prior.questions + before
        second = (prior.second_moment * prior.questions + squares - values * values) / weight
        mean = (m * prior.questions + sums - values) / weight
        self._seen += values.shape[1]
        self._sum, self._squares = sums[:, -1], squares[:, -1]
        return self._best_stakes(second, mean, m)

    def _best_stakes(self, second: Floats, mean: Floats, m: Floats) -> Floats:
        """Returns each bet's best stake at a second moment and mean of the values."""
        spread = np.maximum(second - 2.0 * m * mean + m * m, _LEAST_SPREAD)
        largest = _LARGEST_STAKE / np.maximum(m - self._low, 1e-9)
        away = self._distances
        root = np.sqrt(spread * spread + 4.0 * np.maximum(-m, 0.0) * away)
        stakes: Floats = np.minimum(2.0 * away / (spread + root), largest)
        return stakes

    def chance_of_enough(self, values: Floats, chances: Floats, questions: int) -> float:
        """Returns how likely some bet of the first order makes enough by itself in time.

        The logarithm of a bet's wealth is taken for a Brownian motion of the same drift and
        variance, whose chance to reach a level in time is known in closed form (Siegmund,
        *Sequential Analysis*, 1985, equation 3.15). Simulated, a chance of 95 % is one of 93 to
        98 %.

        Args:
            values: What a question can have, shape `(values,)`.
            chances: How likely each is, same shape.
            questions: Within how many questions, from the start.
        """
        from scipy import special

        m, prior = self._m[:1], self._spread
        seen = questions * (np.arange(_MOMENTS) + 0.5) / _MOMENTS
        weight = prior.questions + seen
        second = (prior.second_moment * prior.questions + seen * (values**2 @ chances)) / weight
        mean = (m * prior.questions + seen * (values @ chances)) / weight
        stakes = self._best_stakes(second, mean, m)[:, 0]
        growth = np.log1p(stakes[:, :, None] * (values - m))
        drift = np.mean(growth @ chances, axis=1)
        variance = np.maximum(np.mean(growth**2 @ chances, axis=1) - drift**2, 1e-12)
        lacking = self._log_enough - np.log(self._start) + _STEP * np.sqrt(variance)
        deviation = np.sqrt(variance * questions)
        reached = special.ndtr((drift * questions - lacking) / deviation) + np.exp(
            2.0 * drift * lacking / variance
            + special.log_ndtr(-(lacking + drift * questions) / deviation)
        )
        return float(reached.max())

    def keep(self, orders: Bools) -> None:
        """Goes on with the orders where the mask, shape `(orders,)`, is True."""
        self._m, self._sum = self._m[orders], self._sum[orders]
        self._squares, self._wealth = self._squares[orders], self._wealth[:, orders]
        self.log_now, self.log_peak = self.log_now[orders], self.log_peak[orders]
