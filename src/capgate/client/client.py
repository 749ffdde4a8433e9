"""A lean client for OpenAI-compatible servers; each of its failures is a `RequestFault`.

| what happens | what the client does |
|---|---|
| answer | returns a `Completion` |
| 429 | fewer requests in flight, `Retry-After` for all of them, another attempt |
| 408, 5xx, time-out, broken JSON, empty answer | another attempt, backing off |
| refused, disconnected, unreachable | one look at a time until it is back, another attempt |
| anything else | raises at once |
| no answer any more | every request raises the same fault (`capgate.client.breaker.Breaker`) |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from capgate.client.answer_limit import AnswerLimit, MaxTokensField, request_body
from capgate.client.bodies import answer_room, echo_room
from capgate.client.breaker import Breaker
from capgate.client.connection import Connection
from capgate.client.faults import CONNECTION_KINDS, Place
from capgate.client.limits import ClientLimits
from capgate.client.outage import Notify, Outage
from capgate.client.pacing import AdaptiveLimit
from capgate.client.replies import Completion, ServedModel, read_json, read_models
from capgate.client.retry import RetryPolicy
from capgate.client.text_completions import CONTINUATIONS, PromptFormat, text_request
from capgate.common.errors import RequestFault

_T = TypeVar("_T")


class Reservation(Protocol):
    """What each attempt of a request is paid from."""

    async def reserve(self) -> None:
        """Sets aside what the next attempt can cost; raises where there is not enough."""

    def settle(self, cost: float | None) -> None:
        """Takes what the attempt cost in US dollars; None where that is not known."""


@dataclass(slots=True)
class _Attempt:
    """How one attempt ended.

    Attributes:
        started: When it was sent, monotonic seconds.
        answer: Its answer.
        fault: Why there is none.
        cost: US dollars; None where that is not known.
    """

    started: float
    answer: Completion | None = None
    fault: RequestFault | None = None
    cost: float | None = None


class Client:
    """Asks one server for one target; made once, usable from one event loop after another.

    Args:
        base_url: The API's root, such as `http://127.0.0.1:8000/v1`.
        target: Id of the target, for faults.
        model: The model's served name, for faults.
        key: The API key; sent as a bearer token, shown nowhere.
        limits: Times and counts.
        headers: Further headers of every request.
        max_tokens_field: What `max_tokens` of a request is sent as. Where the server asks for
            the other field, that is sent from then on, by this process's other clients as well.
            Completions have `max_tokens` alone.
        prompt_format: Whether chats are asked for, or completions of a text.
        notify: Told where the server is out of reach, and where it is back: takes the topic and
            a line for people.

    Attributes:
        limits: Times and counts.
        answer_limit: Which field bounds an answer.
        breaker: Knows whether the server is gone.
        pace: Bounds the requests in flight.
    """

    def __init__(
        self,
        base_url: str,
        *,
        target: str,
        model: str = "",
        key: str = "",
        limits: ClientLimits | None = None,
        headers: Mapping[str, str] | None = None,
        max_tokens_field: MaxTokensField = "max_tokens",
        prompt_format: PromptFormat = "chat",
        notify: Notify = lambda topic, line: None,  # noqa: ARG005
    ) -> None:
        self.limits = limits or ClientLimits()
        self._connection = Connection(
            base_url,
            target=target,
            model=model,
            key=key,
            limits=self.limits,
            headers=headers,
            prompt_format=prompt_format,
        )
        self._format = prompt_format
        self.answer_limit = AnswerLimit(self._connection.base, max_tokens_field)
        self.breaker = Breaker(
            patience=self.limits.patience,
            first_patience=self.limits.first_patience,
            rate_patience=self.limits.rate_patience,
            cooldown=self.limits.cooldown,
        )
        self.pace = AdaptiveLimit(self.limits.connections)
        self._retry = RetryPolicy(self.limits)
        self._outage = Outage(
            self._connection,
            self.breaker,
            first_wait=self.limits.backoff,
            notify=notify,
            given_up=self.pace.resume,
        )

    @property
    def base_url(self) -> str:
        """The API's root, without credentials."""
        return self._connection.base

    @property
    def given_up(self) -> bool:
        """Whether the server is asked no more, since no answer comes."""
        return self.breaker.fault is not None

    def __repr__(self) -> str:
        return f"Client({self._connection.base!r}, target={self._connection.place.target!r})"

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes this event loop's connections; the client opens new ones when asked again."""
        await self._outage.aclose()
        await self._connection.aclose()

    async def complete(
        self, request: Mapping[str, Any], reservation: Reservation | None = None
    ) -> Completion:
        """Asks for one answer, as often as the limits allow.

        Args:
            request: The JSON object of a chat request (`model`, `messages`, `max_tokens` …),
                also where completions are asked for.
            reservation: What each attempt is paid from, where the cost is bounded.

        Raises:
            RequestFault: There was no answer.
            ConfigError: A completion can't hold what the request asks.
            Exception: What `reservation` raised, since there was not enough money left.
        """
        model, room = str(request.get("model", "")), answer_room(request)
        field = self.answer_limit.field(model)
        prompts = None
        if self._format == "completion":
            choices = request.get(CONTINUATIONS)
            request, field = text_request(request), "max_tokens"
            if choices:
                prompts = dict(zip(choices, request["prompt"], strict=True))
                room = echo_room(prompts.values())
        body = request_body(request, field)
        attempts = 0
        lost = 0.0
        while True:
            attempts += 1
            ended = await self._attempt(body, attempts, room, reservation, prompts)
            if ended.answer is not None:
                if not lost:
                    return ended.answer
                return replace(ended.answer, cost=lost + (ended.cost or 0.0))
            fault = ended.fault
            assert fault is not None
            lost += ended.cost or 0.0
            if fault.cause == "max_completion_tokens" and field == "max_tokens" in request:
                # Requests that were sent at the same time are refused likewise, once each.
                field = self.answer_limit.change(model)
                body = request_body(request, field)
                continue
            if self.breaker.failure(fault, ended.started):
                self._outage.give_up()
                raise fault
            if not self._retry.again(fault, attempts):
                raise fault
            if fault.kind in CONNECTION_KINDS:
                self._outage.begin(fault)
            elif fault.kind != "rate_limited" or not fault.retry_after:
                # A wait that a rate limit asked for holds for all requests, in `pace`.
                await self._outage.pause(self._retry.back_off(fault, attempts))

    async def models(self) -> list[ServedModel]:
        """Returns what `GET {base_url}/models` lists, asked as often as the limits allow.

        Raises:
            RequestFault: There was no such answer.
        """
        return await self._ask("models", read_models)

    async def get(self, path: str) -> object:
        """Returns the JSON of `GET {base_url}/{path}`, asked as often as the limits allow.

        Raises:
            RequestFault: There was no such answer.
        """
        return await self._ask(path, read_json)

    async def health(self) -> None:
        """Asks `GET /health` at the server's root; one attempt.

        Raises:
            RequestFault: It did not say 200; `not_found` where the server has no such route.
        """
        await self._connection.get(f"{self._connection.root}/health")

    async def version(self) -> str:
        """Returns what `GET /version` at the server's root says, or `""`; one attempt.

        Raises:
            RequestFault: There was no such answer.
        """
        place = replace(self._connection.place, url=f"{self._connection.root}/version")
        body = read_json(place, 200, await self._connection.get(place.url))
        version = body.get("version") if isinstance(body, dict) else None
        return version if isinstance(version, str) else ""

    async def _ask(self, path: str, read: Callable[[Place, int, bytes], _T]) -> _T:
        place = replace(self._connection.place, url=f"{self._connection.base}/{path}")
        attempts = 0
        while True:
            attempts += 1
            try:
                return read(place, 200, await self._connection.get(place.url))
            except RequestFault as error:
                fault = error if attempts == 1 else error.copy(attempts=attempts)
            if not self._retry.again(fault, attempts):
                raise fault
            await self._outage.pause(self._retry.back_off(fault, attempts))

    async def _attempt(
        self,
        body: bytes,
        attempts: int,
        room: int,
        reservation: Reservation | None,
        prompts: Mapping[str, str] | None,
    ) -> _Attempt:
        """Sends a request once, when it may be sent, and counts how that ended."""
        await self._enter(reservation)
        ended = _Attempt(time.monotonic())
        try:
            ended.answer = await self._connection.post(body, attempts, room, prompts)
            ended.cost = ended.answer.cost
            self.breaker.success()
            self.pace.succeeded()
        except RequestFault as fault:
            ended.cost = fault.cost
            ended.fault = fault if attempts == 1 else fault.copy(attempts=attempts)
            if fault.kind == "rate_limited":
                self.pace.throttled(ended.started, self._retry.asked_wait(fault))
        finally:
            self.pace.release()
            if reservation is not None:
                reservation.settle(ended.cost)
        return ended

    async def _enter(self, reservation: Reservation | None) -> None:
        """Waits until a request may be sent and is paid for, and takes its place.

        Raises:
            RequestFault: The server is gone; no place was taken.
        """
        if reservation is None:
            await self._take_place()
            return
        # First the money: a request that waits for it must not be sent into a pause that began
        # meanwhile.
        await reservation.reserve()
        try:
            await self._take_place()
        except BaseException:
            reservation.settle(0.0)
            raise

    async def _take_place(self) -> None:
        while True:
            if self._outage.lasts:
                await self._outage.wait()
            await self.pace.acquire()
            if self._outage.lasts:
                self.pace.release()
                continue
            fault = self.breaker.blocked()
            if fault is None:
                return
            self.pace.release()
            raise fault.copy()
