"""The sequential rule: evidence of harm races evidence of harmlessness.

One e-process plays against "the drop is at most `tolerate`", one against "the drop is at least
`catch`"; the first to reach one over its error share decides. A third watches for answers that
became unreadable. The rule is followed over many random orders at once: the gate itself is the
case of one order, a simulation that of thousands, and so both are the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import IntEnum
from math import log
from typing import Final

import numpy as np
import numpy.typing as npt

from capgate.gate.budget import Budget
from capgate.gate.policy import Policy
from capgate.gate.sequential import Bet, Bools, EProcess, Floats, Spread
from capgate.gate.stats import Interval

BATCH: Final = 64
"""Questions put between two looks; the error rates don't depend on it."""

_HARM_BETS: Final = ((1.0, 0.41), (2.4, 0.44), (6.0, 0.15))
"""What harm is looked for: `catch` itself, some more, a collapse (multiples of the gap, weight)."""

_HARMLESS_BETS: Final = ((1.0, 0.9), (3.0, 0.05), (10.0, 0.05))
"""Mostly a drop of exactly `tolerate`; a tenth for a candidate that has become better."""

_ABOVE_FLOOR_BETS: Final = ((1.0, 0.4), (4.0, 0.3), (12.0, 0.3))
"""A floor is set well under what a model is thought to reach."""

_DISCORDANCE: Final = 0.1
"""Share of questions where two related models differ, until the answers say."""

_UNPARSED: Final = 0.05
"""Share of questions that one side alone answers unreadably, until the answers say."""

_HARM_PRIOR: Final = 100.0
_HARMLESS_PRIOR: Final = 8.0
"""Questions that such a guess is worth. Who looks for harm had better not stake much because the
first few answers agree; who looks for none loses little by it."""

_HELD_AT_ONCE: Final = 2**24
"""Questions of all orders together that a simulation holds at a time: some 32 MB."""

_INTERVAL_STEPS: Final = 128
_INTERVAL_CHUNK: Final = 256


class Outcome(IntEnum):
    """Where one order of the race stands."""

    UNDECIDED = 0
    HARM = 1
    HARMLESS = 2
    UNPARSED = 3
    TOO_MANY_ERRORS = 4
    DISAGREED = 5
    """The readings of the answers differ in what was first: no verdict can come any more."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How values relate to a drop: `drop = mean(values) - offset`.

    Attributes:
        low: Smallest value of a question.
        high: Largest.
        offset: 0 for paired differences; one minus the floor for "not correct".
        second_moment: Of the values, until the answers say.
        harmless_bets: What harmlessness is looked for (multiples of the gap, weight).
    """

    low: float
    high: float
    offset: float
    second_moment: float
    harmless_bets: tuple[tuple[float, float], ...] = _HARMLESS_BETS

    @classmethod
    def paired(cls) -> Scale:
        """Returns the scale of +1 for a loss, −1 for a gain, else 0."""
        return cls(-1.0, 1.0, 0.0, _DISCORDANCE)

    @classmethod
    def floor(cls, accuracy: float) -> Scale:
        """Returns the scale of 1 for "not correct", else 0, against a floor in (0, 1)."""
        return cls(0.0, 1.0, 1.0 - accuracy, 1.0 - accuracy, _ABOVE_FLOOR_BETS)

    def chances(self, drop: float, discordance: float | None) -> tuple[Floats, Floats]:
        """Returns a question's values and how likely each is at a true drop.

        Args:
            drop: The true drop.
            discordance: Share of questions where the two sides differ, at least the drop; None
                against a floor.
        """
        if discordance is None:
            return np.array([1.0, 0.0]), np.array([self.offset + drop, 1.0 - self.offset - drop])
        differing = max(discordance, abs(drop))
        lost, gained = (differing + drop) / 2.0, (differing - drop) / 2.0
        return np.array([1.0, -1.0, 0.0]), np.array([lost, gained, 1.0 - differing])

    def against_at_most(
        self, drop: float | Floats, *, gap: float, share: float, orders: int = 1
    ) -> EProcess:
        """Returns the e-process against "the drop is at most `drop`" at an error share."""
        return EProcess(
            null_mean=self.offset + drop,
            low=self.low,
            high=self.high,
            log_enough=-log(share),
            bets=[Bet(k * gap, weight) for k, weight in _HARM_BETS],
            spread=Spread(self.second_moment, _HARM_PRIOR),
            orders=orders,
        )

    def against_at_least(
        self, drop: float | Floats, *, gap: float, share: float, orders: int = 1
    ) -> EProcess:
        """Returns the e-process against "the drop is at least `drop`"; feed it minus the values."""
        return EProcess(
            null_mean=-(self.offset + drop),
            low=-self.high,
            high=-self.low,
            log_enough=-log(share),
            bets=[Bet(k * gap, weight) for k, weight in self.harmless_bets],
            spread=Spread(self.second_moment, _HARMLESS_PRIOR),
            orders=orders,
        )


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

        # Too many errors put off the announcement, or forbid it.
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


@dataclass(frozen=True, slots=True)
class Orders:
    """The sequential rule over many random orders of the same answers.

    Attributes:
        outcomes: Share of the orders by outcome.
        mean_questions: Questions put until the verdict, on average.
        q90_questions: Nine of ten orders needed no more than these.
        orders: How many orders.
    """

    outcomes: dict[Outcome, float]
    mean_questions: float
    q90_questions: float
    orders: int

    @property
    def verdicts(self) -> dict[str, float]:
        """Share of the orders by kind of verdict."""
        share = {one: self.outcomes.get(one, 0.0) for one in Outcome}
        return {
            "PASS": share[Outcome.HARMLESS],
            "REGRESSION": share[Outcome.HARM] + share[Outcome.UNPARSED],
            "INCONCLUSIVE": share[Outcome.UNDECIDED]
            + share[Outcome.TOO_MANY_ERRORS]
            + share[Outcome.DISAGREED],
        }


def run_orders(
    scale: Scale,
    policy: Policy,
    budget: Budget,
    rows: npt.NDArray[np.int8],
    *,
    orders: int,
    seed: int,
    batch: int = BATCH,
    first: Sequence[int] | None = None,
) -> Orders:
    """Follows the sequential rule over random orders of known answers.

    Args:
        scale: What a value means.
        policy: The policy.
        budget: Error shares of the run.
        rows: Shape `(3, N)`: value, rise of unparsed, and 1 where scored, of each question.
        orders: How many orders.
        seed: Of the orders.
        batch: Questions between two looks.
        first: An order (a permutation of the columns of `rows`) to follow as the first of them.
    """
    population = rows.shape[1]
    # numpy takes no negative seed.
    rng = np.random.default_rng(seed if seed >= 0 else (-seed, 1))
    kind = np.int16 if population < 2**15 else np.int32
    outcome: npt.NDArray[np.int8] = np.zeros(orders, dtype=np.int8)
    asked: npt.NDArray[np.int64] = np.zeros(orders, dtype=np.int64)
    together = max(1, _HELD_AT_ONCE // population)
    for done in range(0, orders, together):
        some = min(together, orders - done)
        order = np.tile(np.arange(population, dtype=kind), (some, 1))
        rng.permuted(order, axis=1, out=order)
        if first is not None and not done:
            order[0] = first
        race = Race(scale, policy, budget, population=population, orders=some)
        for start in range(0, population, batch):
            if not len(race.running):
                break
            drawn = rows[:, order[race.running, start : start + batch]]
            race.update(drawn[0].astype(float), drawn[1].astype(float), drawn[2].astype(bool))
        outcome[done : done + some], asked[done : done + some] = race.outcome, race.asked
    shares = {one: float(np.mean(outcome == one)) for one in Outcome}
    return Orders(
        outcomes={one: share for one, share in shares.items() if share},
        mean_questions=float(asked.mean()),
        q90_questions=float(np.quantile(asked, 0.9)),
        orders=orders,
    )


def confidence_sequence(
    scale: Scale, values: Floats, *, gap: float, below: float, above: float
) -> Interval:
    """Returns the drops that the e-processes have not refuted by now.

    Valid whenever one stops. Its ends agree with the verdict: it holds `tolerate` exactly as long
    as the evidence of harm has not sufficed, and likewise `catch`.

    Args:
        scale: What a value means.
        values: Of the questions in the order drawn, none missing, shape `(questions,)`, at least
            one.
        gap: `catch - tolerate`, the scale of the bets.
        below: Error share of the lower end.
        above: Error share of the upper end.
    """

    def refuted(drops: Floats, *, upper: bool) -> Bools:
        start = scale.against_at_least if upper else scale.against_at_most
        process = start(drops, gap=gap, share=above if upper else below, orders=len(drops))
        for at in range(0, len(values), _INTERVAL_CHUNK):
            part = np.tile(values[at : at + _INTERVAL_CHUNK], (len(drops), 1))
            process.update(-part if upper else part)
        return process.log_peak >= -log(above if upper else below)

    ends: list[float] = []
    for upper, extreme in ((False, scale.low), (True, scale.high)):
        kept, out = float(values.mean()) - scale.offset, extreme - scale.offset
        for _ in range(2):
            drops = np.linspace(kept, out, _INTERVAL_STEPS + 1)
            hits = refuted(drops[1:], upper=upper)
            if not hits.any():
                kept = out
                break
            first = int(hits.argmax())
            kept, out = float(drops[first]), float(drops[first + 1])
        ends.append(kept)
    return Interval(ends[0], ends[1], 1.0 - below - above)


def _first_true(hits: Bools) -> npt.NDArray[np.intp]:
    """Returns the first True of each row, the row's length where there is none."""
    first: npt.NDArray[np.intp] = np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])
    return first
