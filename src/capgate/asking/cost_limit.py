"""`--max-cost`: no request is sent that could carry the run past it.

Before each attempt of a request its highest possible cost is set aside. After the attempt its real
cost is taken instead; where that is not known, the highest. One cost limit, the controller's,
serves all processes of a run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from capgate.asking.token_guesses import most_tokens
from capgate.common.errors import CapgateError
from capgate.common.text import format_dollars
from capgate.serving.openrouter import Price

Grant = Literal["granted", "wait", "over"]

_POLL_SECONDS: Final = 0.02


class NotAskedError(CapgateError):
    """A question that was not asked, since it could have passed `--max-cost`."""


class CostLimit(Protocol):
    """A run's cost limit, from wherever it is reached."""

    limit: float

    def reserve(self, dollars: float) -> Grant:
        """Sets money aside, where there is enough."""

    def settle(self, reserved: float, cost: float) -> None:
        """Takes the real cost in place of what was set aside."""


class RunCostLimit:
    """What a run may spend; safe to use from several threads.

    Once a request is refused, all others are refused as well: a run that went on with cheaper
    questions would choose its questions by their price.

    Args:
        limit: US dollars.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.spent = 0.0
        self._aside = 0.0
        self._shut = False
        self._lock = threading.Lock()

    def reserve(self, dollars: float) -> Grant:
        """Sets money aside, where there is enough.

        Returns:
            `granted`; `wait` where other requests may give back what they do not need; `over`
            where there will never be enough.
        """
        with self._lock:
            if self._shut or self.spent + dollars > self.limit:
                self._shut = True
                return "over"
            if self.spent + self._aside + dollars > self.limit:
                return "wait"
            self._aside += dollars
            return "granted"

    def settle(self, reserved: float, cost: float) -> None:
        """Takes the real cost in place of what was set aside."""
        with self._lock:
            self._aside -= reserved
            self.spent += cost


@dataclass
class TargetCost:
    """One target's part in the cost limit.

    Attributes:
        target: The target's id, for messages.
        price: The highest price that it may be answered at.
        cost_limit: The run's.
        over: Whether the cost limit has refused it.
    """

    target: str
    price: Price
    cost_limit: CostLimit
    over: bool = False

    def reservation(self, request: Mapping[str, Any]) -> CostReservation:
        """What the attempts of a request are paid from."""
        return CostReservation(self, self.price.of(*most_tokens(request)))

    def refusal(self) -> NotAskedError:
        """What a question that is not asked ends with."""
        return NotAskedError(
            f"the question was not put: it could carry the run past --max-cost "
            f"{format_dollars(self.cost_limit.limit)}",
            target=self.target,
            remedy="raise --max-cost and run again; what was answered is kept and not asked again",
        )


@dataclass(frozen=True, slots=True)
class CostReservation:
    """One request's part in the cost limit, for each of its attempts (`client.Reservation`).

    Attributes:
        target_cost: Its target's.
        most: The highest cost that an attempt can have, in US dollars.
    """

    target_cost: TargetCost
    most: float

    async def reserve(self) -> None:
        """Sets aside an attempt's highest cost; waits while others may give back money.

        Raises:
            NotAskedError: There is not enough left.
        """
        target_cost = self.target_cost
        while not target_cost.over:
            grant = target_cost.cost_limit.reserve(self.most)
            if grant == "granted":
                return
            if grant == "over":
                break
            await asyncio.sleep(_POLL_SECONDS)
        target_cost.over = True
        raise target_cost.refusal()

    def settle(self, cost: float | None) -> None:
        """Takes the real cost; where that is not known, all that was set aside."""
        self.target_cost.cost_limit.settle(self.most, self.most if cost is None else cost)
