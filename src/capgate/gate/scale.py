"""How the values of questions relate to a drop, and what the e-processes bet on."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np

from capgate.gate.sequential import Bet, Bools, EProcess, Floats, Spread
from capgate.gate.stats import Interval

_HARM_BETS: Final = ((1.0, 0.41), (2.4, 0.44), (6.0, 0.15))
"""What harm is looked for: `catch` itself, some more, a collapse (multiples of the gap, weight)."""

_HARMLESS_BETS: Final = ((1.0, 0.9), (3.0, 0.05), (10.0, 0.05))
"""Mostly a drop of exactly `tolerate`; a tenth for a candidate that has become better."""

_ABOVE_FLOOR_BETS: Final = ((1.0, 0.4), (4.0, 0.3), (12.0, 0.3))
"""A floor is set well under what a model is thought to reach."""

_DISCORDANCE: Final = 0.1
"""Share of questions where two related models differ, until the answers say."""

_HARM_PRIOR: Final = 100.0
_HARMLESS_PRIOR: Final = 8.0
"""Questions that such a guess is worth. A test for harm must not stake much because the first few
answers agree; a test for harmlessness loses little by it."""

_INTERVAL_STEPS: Final = 128
_INTERVAL_CHUNK: Final = 256


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
