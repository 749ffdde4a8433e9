"""The sequential rule over many random orders of the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from capgate.gate.budget import Budget
from capgate.gate.policy import Policy
from capgate.gate.race import Outcome, Race
from capgate.gate.scale import Scale

BATCH: Final = 64
"""Questions put between two looks; the error rates don't depend on it."""

HELD_AT_ONCE: Final = 2**24
"""Questions of all orders together that a simulation holds at a time: some 32 MB."""


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
    held: int = HELD_AT_ONCE,
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
        held: Questions of all orders together that are in memory at a time; the outcome does not
            depend on it.
    """
    population = rows.shape[1]
    # numpy takes no negative seed.
    rng = np.random.default_rng(seed if seed >= 0 else (-seed, 1))
    kind = np.int16 if population < 2**15 else np.int32
    outcome: npt.NDArray[np.int8] = np.zeros(orders, dtype=np.int8)
    asked: npt.NDArray[np.int64] = np.zeros(orders, dtype=np.int64)
    together = max(1, held // population)
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
