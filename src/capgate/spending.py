"""`--max-cost`: no request is sent that could carry the run past it.

Before each request its highest possible cost is set aside, and given back for what it
did cost. One purse, the controller's, serves all processes of a run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from capgate.errors import CapgateError, RequestFault
from capgate.serving.openrouter import Price

if TYPE_CHECKING:
    from capgate.datasets import Question
    from capgate.evaluation import Contestant
    from capgate.settings import Settings
    from capgate.store import Store

Grant = Literal["granted", "wait", "over"]

_POLL_SECONDS: Final = 0.02
_FRAME_TOKENS: Final = 64
"""What a chat template may add to a prompt."""

_FRAME_CHARACTERS: Final = 360
"""What the task's instructions add to a question."""

_CHARACTERS_PER_TOKEN: Final = 4.0
_USUAL_ANSWER: Final = 8.0
"""Tokens of `ANSWER: X` and what ends it, where no earlier answer tells."""


class NotAskedError(CapgateError):
    """A question that was not put, since it could have passed `--max-cost`."""

    @property
    def message(self) -> str:
        """The one paragraph; Inspect shows an exception's `message` where it has one."""
        return str(self)


class Spending(Protocol):
    """A run's purse, from wherever it is reached."""

    limit: float

    def reserve(self, dollars: float) -> Grant:
        """Sets money aside, where there is enough."""

    def settle(self, reserved: float, cost: float) -> None:
        """Gives back what was set aside, for what it did cost."""


class Purse:
    """What a run may spend; safe to use from several threads.

    Once a request was refused the purse is shut: a run that goes on with whatever is
    cheap enough would choose its questions by their price.

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
            `granted`; `wait` where what is set aside for others may yet come back; `over`
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
        """Gives back what was set aside, for what it did cost."""
        with self._lock:
            self._aside -= reserved
            self.spent += cost


@dataclass
class Meter:
    """One target's way to the purse.

    Attributes:
        target: The target's id, for messages.
        price: The highest price that it may be answered at.
        purse: The run's.
        over: Whether the purse has refused it.
    """

    target: str
    price: Price
    purse: Spending
    over: bool = False

    async def reserve(self, request: Mapping[str, Any]) -> float:
        """Sets aside the highest possible cost of a request, waiting for what may come back.

        Returns:
            The dollars set aside, for `settle`.

        Raises:
            NotAskedError: There is not enough left.
        """
        dollars = self.price.of(*most_tokens(request))
        while not self.over:
            grant = self.purse.reserve(dollars)
            if grant == "granted":
                return dollars
            if grant == "over":
                break
            await asyncio.sleep(_POLL_SECONDS)
        self.over = True
        raise self.refusal()

    def settle(self, reserved: float, cost: float | None) -> None:
        """Gives back what was set aside; where the cost is not known, all of it is spent."""
        self.purse.settle(reserved, reserved if cost is None else cost)

    def refusal(self) -> NotAskedError:
        """What a question that is not put ends with."""
        return NotAskedError(
            f"the question was not put: it could carry the run past --max-cost "
            f"${self.purse.limit:g}",
            target=self.target,
            remedy="raise --max-cost and run again; what was answered is kept and not asked again",
        )


def cost_of_fault(fault: RequestFault) -> float | None:
    """What a request that failed has cost: nothing where it was refused, else unknown."""
    return 0.0 if fault.status is not None and fault.status >= 400 else None


def most_tokens(request: Mapping[str, Any]) -> tuple[int, int]:
    """The most tokens that a request's prompt and answer can have: a token has a byte at least."""
    prompt = sum(len(message["content"].encode()) for message in request["messages"])
    return prompt + _FRAME_TOKENS, int(request["max_tokens"])


@dataclass(frozen=True, slots=True)
class Estimate:
    """What questions will cost, in US dollars.

    Attributes:
        questions: How many are to be asked.
        likely: What is to be expected.
        most: The most it can be.
    """

    questions: int
    likely: float
    most: float

    def __str__(self) -> str:
        return (
            f"up to {self.questions:,} questions to ask, about {dollars(self.likely)} "
            f"(at most {dollars(self.most)})"
        )


def estimate(
    questions: Iterable[Question],
    offer_price: Price,
    dearest: Price,
    *,
    max_tokens: int,
    mean_cost: float | None,
) -> Estimate:
    """Estimates what questions will cost.

    Args:
        questions: Those still to be asked.
        offer_price: The listed price.
        dearest: The highest price among those that may answer.
        max_tokens: Most tokens of an answer.
        mean_cost: What this target's earlier answers cost on average, if there are any.
    """
    count, likely, most = 0, 0.0, 0.0
    for question in questions:
        count += 1
        text = _text(question)
        tokens = (len(text) + _FRAME_CHARACTERS) / _CHARACTERS_PER_TOKEN
        likely += offer_price.of(tokens, min(_USUAL_ANSWER, max_tokens))
        most += dearest.of(len(text.encode()) + _FRAME_CHARACTERS + _FRAME_TOKENS, max_tokens)
    if mean_cost is not None:
        likely = count * mean_cost
    return Estimate(count, likely, max(most, likely))


def forecast(
    contestant: Contestant, chosen: Iterable[Question], store: Store, run: str, settings: Settings
) -> str | None:
    """The line that tells what a target's questions will cost; None where they cost nothing.

    Args:
        contestant: The target.
        chosen: The run's questions.
        store: Where answers that need not be asked for are found.
        run: The run's id.
        settings: The run's settings.
    """
    offer = contestant.endpoint.offer
    if offer is None or offer.price is None or offer.dearest is None:
        return None
    questions = list(chosen)
    hashes = [question.hash for question in questions]
    found = store.find(contestant.context, hashes, run=run, fresh=settings.fresh)
    expected = estimate(
        (question for question in questions if question.hash not in found),
        offer.price,
        offer.dearest,
        max_tokens=settings.max_tokens,
        mean_cost=store.mean_cost(contestant.context),
    )
    bound = "" if settings.max_cost is None else f"; the run stops at {dollars(settings.max_cost)}"
    return f"{contestant.id}: {expected}{bound}"


def dollars(amount: float) -> str:
    """An amount as people read it: two significant digits below a dollar."""
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    digits = 2
    while amount < 10**-digits * 10 and digits < 8:
        digits += 1
    return f"${amount:.{digits}f}"


def _text(question: Question) -> str:
    sample = question.sample
    asked = (
        sample.input
        if isinstance(sample.input, str)
        else "\n".join(message.text for message in sample.input)
    )
    return "\n".join([asked, *(sample.choices or ())])
