"""The sequential rule: evidence of harm races evidence of harmlessness.

One e-process plays against "the drop is at most `tolerate`", one against "the drop is at least
`catch`"; the first to reach one over its error share decides. A third watches for answers that
became unreadable. The code follows many random orders at once: the gate itself has one order, a
simulation has thousands, and both run the same code.
"""

from __future__ import annotations

from copy import deepcopy
from enum import IntEnum
from math import log
from typing import Final

import numpy as np
import numpy.typing as npt

from capgate.gate.budget import Budget
from capgate.gate.policy import Policy
from capgate.gate.scale import Scale
from capgate.gate.sequential import Bools, EProcess, Floats

_UNPARSED: Final = 0.05
"""Share of questions that one side alone answers unreadably, until the answers say."""


class Outcome(IntEnum):
    """Where one order of the race stands."""

    UNDECIDED = 0
    HARM = 1
    HARMLESS = 2
    UNPARSED = 3
    TOO_MANY_ERRORS = 4
    DISAGREED = 5
    """The readings of the answers differ in what was first: no verdict is possible any more."""


class Reading:
    """The three e-processes on one reading of the answers, and which of them was first.

    Args:
        scale: What a question's value means.
        policy: `tolerate`, `catch`, `miss` and the limit on unparsed answers.
        budget: Error shares; an `unparsed` share of 0 switches that watch off.
        orders: How many orders run side by side.

    Attributes:
        harm: The e-process against "the drop is at most `tolerate`".
        harmless: The one against "the drop is at least `catch`".
        unparsed: The one against "no more answers are unreadable"; None where it is off.
        first: Of each order, the `Outcome` that was reached first, shape `(orders,)`.
    """

    def __init__(self, scale: Scale, policy: Policy, budget: Budget, *, orders: int) -> None:
        gap = policy.catch - policy.tolerate
        self.harm = scale.against_at_most(
            policy.tolerate, gap=gap, share=budget.pooled, orders=orders
        )
        self.harmless = scale.against_at_least(
            policy.catch, gap=gap, share=budget.miss(policy), orders=orders
        )
        self.unparsed: EProcess | None = None
        if budget.unparsed > 0.0:
            self.unparsed = Scale(-1.0, 1.0, 0.0, _UNPARSED).against_at_most(
                0.0, gap=policy.max_unparsed_increase, share=budget.unparsed, orders=orders
            )
            self._needed_unparsed = -log(budget.unparsed)
        self._needed_harm, self._needed_harmless = -log(budget.pooled), -log(budget.miss(policy))
        self._limit = policy.max_unparsed_increase - 1e-12
        self._asked = 0
        self._rise = np.zeros(orders)
        self.first: npt.NDArray[np.int8] = np.zeros(orders, dtype=np.int8)

    def update(self, values: Floats, rises: Floats) -> None:
        """Plays one batch; shapes `(orders, questions)`."""
        n = values.shape[1]
        firsts = [(Outcome.HARM, _first_true(self.harm.update(values) >= self._needed_harm))]
        if self.unparsed is not None:
            asked = self._asked + np.arange(1, n + 1)
            rose = self._rise[:, None] + np.cumsum(rises, axis=1)
            self._rise = rose[:, -1]
            known = self.unparsed.log_peak >= self._needed_unparsed
            sure = self.unparsed.update(rises) >= self._needed_unparsed
            sure = known[:, None] | np.maximum.accumulate(sure, axis=1)
            firsts.append((Outcome.UNPARSED, _first_true(sure & (rose / asked >= self._limit))))
        harmless = self.harmless.update(-values) >= self._needed_harmless
        firsts.append((Outcome.HARMLESS, _first_true(harmless)))
        self._asked += n

        # What crosses first stands, question by question. Harm wins a tie.
        at = np.stack([first for _, first in firsts])
        winner = np.array([kind for kind, _ in firsts], dtype=np.int8)[at.argmin(axis=0)]
        self.first = np.where((self.first == 0) & (at.min(axis=0) < n), winner, self.first)

    def keep(self, orders: Bools) -> None:
        """Goes on with the orders where the mask is True."""
        self.first, self._rise = self.first[orders], self._rise[orders]
        for process in (self.harm, self.harmless, self.unparsed):
            if process is not None:
                process.keep(orders)


class Race:
    """The sequential rule over one or more random orders of a benchmark.

    Where answers are missing the rule is followed on two readings of them, once with every missing
    answer in the candidate's favour and once against it; where the reference was asked twice, on
    each of its looks by itself. An order is decided where all readings agree.

    Args:
        scale: What a question's value means.
        policy: `tolerate`, `catch`, `miss` and the limits on errors and unparsed answers.
        budget: Error shares; an `unparsed` share of 0 switches that watch off.
        population: Questions of the benchmark, of which `max_error_rate` may lack an answer.
        orders: How many orders run side by side.

    Attributes:
        outcome: Of each order, an `Outcome`, shape `(orders,)`.
        asked: Questions put in each order until it was decided, same shape.
    """

    def __init__(
        self, scale: Scale, policy: Policy, budget: Budget, *, population: int, orders: int = 1
    ) -> None:
        self._scale, self._policy, self._population = scale, policy, population
        self._looks = [[Reading(scale, policy, budget, orders=orders)]]
        self.outcome: npt.NDArray[np.int8] = np.zeros(orders, dtype=np.int8)
        self.asked: npt.NDArray[np.int64] = np.zeros(orders, dtype=np.int64)
        self._running: npt.NDArray[np.intp] = np.arange(orders)
        self._missing = np.zeros(orders)

    @property
    def running(self) -> npt.NDArray[np.intp]:
        """Indices of the orders that are not decided."""
        return self._running

    @property
    def readings(self) -> list[Reading]:
        """All readings of the answers."""
        return [reading for look in self._looks for reading in look]

    def update(
        self,
        values: Floats,
        rises: Floats,
        scored: Bools,
        again: tuple[Floats, Floats] | None = None,
    ) -> None:
        """Plays one batch in every running order, then looks.

        Args:
            values: Of each question, shape `(running orders, questions)`, in the order drawn;
                where an answer is missing, what it leaves possible (see `code_row`).
            rises: +1 where the answer became unparsed, −1 where it became readable, else 0;
                where an answer is missing, what it leaves possible.
            scored: False where an answer is missing.
            again: Values and rises by the reference's second look; None where they are the same.
        """
        running = self._running
        self.asked[running] += values.shape[1]
        if again is not None and len(self._looks) == 1:
            self._looks.append(deepcopy(self._looks[0]))
        if not scored.all():
            self._missing += (~scored).sum(axis=1)
            for look in self._looks:
                if len(look) == 1:
                    look.append(deepcopy(look[0]))
        for look, (moved, rose) in zip(
            self._looks, ((values, rises), again or (values, rises)), strict=False
        ):
            for reading, against in zip(look, (False, True), strict=False):
                reading.update(
                    fill_in(moved, scored, against=against), fill_in(rose, scored, against=against)
                )
        outcome = _agreed(np.stack([reading.first for reading in self.readings]))

        # Too many errors delay the outcome, or forbid it.
        asked, most = self.asked[running], self._policy.max_error_rate
        outcome[self._missing > most * asked + 1e-9] = Outcome.UNDECIDED
        outcome[self._missing > most * self._population + 1e-9] = Outcome.TOO_MANY_ERRORS

        self.outcome[running] = outcome
        going_on = outcome == Outcome.UNDECIDED
        if not going_on.all():
            self._keep(going_on)

    def _keep(self, orders: Bools) -> None:
        if not orders.any():
            # The evidence of the last order stays readable for its verdict.
            self._running = self._running[:0]
            return
        self._running, self._missing = self._running[orders], self._missing[orders]
        for reading in self.readings:
            reading.keep(orders)


def fill_in(values: Floats, scored: Bools, *, against: bool) -> Floats:
    """Returns coded values with the missing ones for or against the candidate."""
    bound = np.maximum if against else np.minimum
    possible = np.where(values == 0.0, 1.0 if against else -1.0, values)
    filled: Floats = np.where(scored, values, bound(possible, 0.0))
    return filled


def _agreed(firsts: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Returns what all readings say, shape `(orders,)`, of shape `(readings, orders)`."""
    passed = firsts == Outcome.HARMLESS
    failed = (firsts == Outcome.HARM) | (firsts == Outcome.UNPARSED)
    outcome: npt.NDArray[np.int8] = firsts[0].copy()
    outcome[~(passed | failed).all(axis=0)] = Outcome.UNDECIDED
    outcome[passed.any(axis=0) & failed.any(axis=0)] = Outcome.DISAGREED
    return outcome


def _first_true(hits: Bools) -> npt.NDArray[np.intp]:
    """Returns the first True of each row, the row's length where there is none."""
    first: npt.NDArray[np.intp] = np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])
    return first
