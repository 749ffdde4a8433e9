"""`--max-cost`: no request is sent that could carry the run past it.

Before each attempt of a request its highest possible cost is set aside, and given back for
what it did cost; where nobody can tell what that is, all of it is spent. One purse, the
controller's, serves all processes of a run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from capgate.common.errors import CapgateError
from capgate.common.text import dollars
from capgate.serving.openrouter import Offer, Price

if TYPE_CHECKING:
    from capgate.asking.contestant import Contestant
    from capgate.benchmarks.questions import Question
    from capgate.config.settings import Settings
    from capgate.store.answer_store import Store

Grant = Literal["granted", "wait", "over"]

_POLL_SECONDS: Final = 0.02
_FRAME_TOKENS: Final = 64
"""What a chat template may add to a prompt."""

_FRAME_CHARACTERS: Final = 360
"""What the task's instructions add to a question."""

_CHARACTERS_PER_TOKEN: Final = 4.0
_PREFLIGHT: Final = "Which of these numbers is even?" + "\n3" * 4
"""As long as the preflight's question and its choices."""

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

    def toll(self, request: Mapping[str, Any]) -> RequestToll:
        """What the attempts of a request are paid from."""
        return RequestToll(self, self.price.of(*most_tokens(request)))

    def refusal(self) -> NotAskedError:
        """What a question that is not put ends with."""
        return NotAskedError(
            f"the question was not put: it could carry the run past --max-cost "
            f"{dollars(self.purse.limit)}",
            target=self.target,
            remedy="raise --max-cost and run again; what was answered is kept and not asked again",
        )


@dataclass(frozen=True, slots=True)
class RequestToll:
    """One request's way to the purse, for each of its attempts (`client.Toll`).

    Attributes:
        meter: Its target's.
        most: The highest cost that an attempt can have, in US dollars.
    """

    meter: Meter
    most: float

    async def reserve(self) -> None:
        """Sets aside an attempt's highest cost, waiting for what others may give back.

        Raises:
            NotAskedError: There is not enough left.
        """
        meter = self.meter
        while not meter.over:
            grant = meter.purse.reserve(self.most)
            if grant == "granted":
                return
            if grant == "over":
                break
            await asyncio.sleep(_POLL_SECONDS)
        meter.over = True
        raise meter.refusal()

    def settle(self, cost: float | None) -> None:
        """Gives back what was set aside; where the cost is not known, all of it is spent."""
        self.meter.purse.settle(self.most, self.most if cost is None else cost)


def most_tokens(request: Mapping[str, Any]) -> tuple[int, int]:
    """The most tokens that a request's prompt and answer can have: a token has a byte at least."""
    prompt = sum(len(message["content"].encode()) for message in request["messages"])
    return prompt + _FRAME_TOKENS, int(request["max_tokens"])


@dataclass(frozen=True, slots=True)
class Estimate:
    """What questions will cost, in US dollars.

    Attributes:
        likely: What is to be expected.
        most: The most it can be; None where some of those who may answer list no price.
    """

    likely: float
    most: float | None

    def __str__(self) -> str:
        most = "no upper bound is known" if self.most is None else f"at most {dollars(self.most)}"
        return f"about {dollars(self.likely)} ({most})"


def estimate(
    texts: Sequence[str], offer: Offer, *, max_tokens: int, mean_cost: float | None
) -> Estimate | None:
    """Estimates what questions will cost; None where their price is unknown.

    Args:
        texts: What is to be asked, with its choices and without the task's instructions.
        offer: What OpenRouter lists for the model.
        max_tokens: Most tokens of an answer.
        mean_cost: What this target's earlier answers cost on average, if there are any.
    """
    price, dearest = offer.price, offer.dearest
    if price is None and mean_cost is None:
        return None
    likely = most = 0.0
    for text in texts:
        if price is not None:
            tokens = (len(text) + _FRAME_CHARACTERS) / _CHARACTERS_PER_TOKEN
            likely += price.of(tokens, min(_USUAL_ANSWER, max_tokens))
        if dearest is not None:
            tokens = len(text.encode()) + _FRAME_CHARACTERS + _FRAME_TOKENS
            most += dearest.of(tokens, max_tokens)
    if mean_cost is not None:
        likely = len(texts) * mean_cost
    return Estimate(likely, None if dearest is None else max(most, likely))


def forecast(
    contestant: Contestant,
    chosen: Sequence[Question],
    store: Store,
    run: str,
    settings: Settings,
    *,
    preflight: bool,
) -> str | None:
    """The line that tells what a target's questions will cost; None where they cost nothing.

    Args:
        contestant: The target.
        chosen: All that the run may come to ask.
        store: Where answers that need not be asked for are found.
        run: The run's id.
        settings: The run's settings.
        preflight: Whether its preflight asks one more.
    """
    offer = contestant.endpoint.offer
    if offer is None:
        return None
    hashes = [question.hash for question in chosen]
    found = store.find(contestant.context, hashes, run=run, fresh=settings.fresh)
    texts = [_text(question) for question in chosen if question.hash not in found]
    if not texts and not preflight:
        return None
    expected = estimate(
        [*texts, *([_PREFLIGHT] if preflight else [])],
        offer,
        max_tokens=settings.max_tokens,
        mean_cost=store.mean_cost(contestant.context),
    )
    asked = f"up to {len(texts):,} questions to ask{' and the preflight' if preflight else ''}"
    bound = "" if settings.max_cost is None else f"; the run stops at {dollars(settings.max_cost)}"
    return f"{contestant.id}: {asked}, {expected or 'price unknown'}{bound}"


def _text(question: Question) -> str:
    sample = question.sample
    asked = (
        sample.input
        if isinstance(sample.input, str)
        else "\n".join(message.text for message in sample.input)
    )
    return "\n".join([asked, *(sample.choices or ())])
