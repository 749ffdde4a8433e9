"""A lean client for OpenAI-compatible servers, whose every failure is a `RequestFault`.

| what happens | what the client does |
|---|---|
| answer | returns a `Completion` |
| 429 | fewer requests in flight, `Retry-After` for all of them, another attempt |
| 408, 5xx, time-out, broken JSON, empty answer | another attempt, backing off |
| refused, disconnected, unreachable | one look at a time until it is back, another attempt |
| anything else | raises at once |
| no answer any more | every request raises the same fault (`capgate.client.pacing.Breaker`) |
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from capgate import __version__
from capgate.client.exchange import fault_of_exception
from capgate.client.faults import (
    CONNECTION_KINDS,
    TRANSIENT_KINDS,
    Place,
    fault_of_response,
    safe_url,
)
from capgate.client.pacing import AdaptiveLimit, Breaker
from capgate.client.replies import (
    Completion,
    ServedModel,
    read_completion,
    read_cost,
    read_json,
    read_models,
)
from capgate.common.answer_limit import AnswerLimit, MaxTokensField, request_body
from capgate.common.bodies import LIST_BYTES, answer_room, json_or_none, read_body
from capgate.common.errors import RequestFault
from capgate.common.proxies import is_loopback, proxy_for

_T = TypeVar("_T")

_GET_TIMEOUT: Final = 30.0
_LOOK_TIMEOUT: Final = 5.0
_LOOK_EVERY: Final = 1.0

_UNSENT: Final = CONNECTION_KINDS - {"disconnected"} | {"tls"}
"""Faults of a request that never left, so that nobody can have charged it."""

_REFUSALS: Final = frozenset(range(400, 500)) - {408}
"""Statuses of what was turned away; whatever else failed may have been charged."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """How long, how often and how many at once. All times are in seconds.

    Attributes:
        connections: Most requests in flight.
        attempt_timeout: From sending a request to its complete answer.
        connect_timeout: From nothing to a connection.
        max_retries: Further attempts after the first.
        backoff: Wait before the second attempt; doubled for each further one.
        backoff_cap: Longest such wait.
        retry_after_cap: Longest wait that a server may ask for.
        patience: See `Breaker`; so are the next three.
        first_patience: See `Breaker`.
        rate_patience: See `Breaker`.
        cooldown: See `Breaker`.
    """

    connections: int = 64
    attempt_timeout: float = 120.0
    connect_timeout: float = 10.0
    max_retries: int = 5
    backoff: float = 0.5
    backoff_cap: float = 8.0
    retry_after_cap: float = 60.0
    patience: float = 20.0
    first_patience: float = 3.0
    rate_patience: float = 120.0
    cooldown: float = 30.0


class Reservation(Protocol):
    """What each attempt of a request is paid from."""

    async def reserve(self) -> None:
        """Sets aside what the next attempt can cost; raises where there is not enough."""

    def settle(self, cost: float | None) -> None:
        """Takes what the attempt did cost in US dollars; None where nobody can tell."""


class _Link:
    """What belongs to one event loop: the connections and whoever waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
        self.loop = loop
        self.session = session
        self.back = asyncio.Event()
        self.back.set()
        self.over = asyncio.Event()
        self.looking: asyncio.Task[None] | None = None


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
    ) -> None:
        self.limits = limits or ClientLimits()
        self.target = target
        self._base = safe_url(base_url).rstrip("/")
        self.answer_limit = AnswerLimit(self._base, max_tokens_field)
        self._root = self._base.removesuffix("/v1").removesuffix("/api")
        self._chat = Place(target, f"{self._base}/chat/completions", model, key)
        self._chat_url = URL(self._chat.url) if urlsplit(self._base).hostname else None
        self._headers = {"User-Agent": f"capgate/{__version__}", **(headers or {})}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self.breaker = Breaker(
            patience=self.limits.patience,
            first_patience=self.limits.first_patience,
            rate_patience=self.limits.rate_patience,
            cooldown=self.limits.cooldown,
        )
        self.pace = AdaptiveLimit(self.limits.connections)
        self._proxy = proxy_for(self._base)
        self._link: _Link | None = None
        self.notify: Callable[[str, str], None] = lambda topic, line: None  # noqa: ARG005

    def __repr__(self) -> str:
        return f"Client({self._base!r}, target={self.target!r})"

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes this event loop's connections; the client opens new ones when asked again."""
        link, self._link = self._link, None
        if link is None:
            return
        if link.looking is not None:
            link.looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await link.looking
        await link.session.close()

    async def complete(
        self, request: Mapping[str, Any], reservation: Reservation | None = None
    ) -> Completion:
        """Asks for one chat completion, as often as the limits allow.

        Args:
            request: The request's JSON object (`model`, `messages`, `max_tokens` …).
            reservation: What each attempt is paid from, where the cost is bounded.

        Raises:
            RequestFault: No answer was had.
            Exception: What `toll` raised for want of money.
        """
        model, room = str(request.get("model", "")), answer_room(request)
        field = self.answer_limit.field(model)
        body = request_body(request, field)
        link = self._open()
        attempts = 0
        lost = 0.0
        while True:
            await self._enter(link, reservation)
            started = time.monotonic()
            attempts += 1
            cost: float | None = None
            fault: RequestFault | None = None
            try:
                answer = await self._post(link, body, attempts, room)
                cost = answer.cost
            except RequestFault as error:
                cost = error.cost
                lost += cost or 0.0
                fault = error if attempts == 1 else error.copy(attempts=attempts)
                if fault.kind == "rate_limited":
                    self.pace.throttled(started, self._asked_wait(fault))
            else:
                self.breaker.success()
                self.pace.succeeded()
            finally:
                self.pace.release()
                if reservation is not None:
                    reservation.settle(cost)
            if fault is None:
                return replace(answer, cost=lost + (cost or 0.0)) if lost else answer
            if fault.cause == "max_completion_tokens" and field == "max_tokens" in request:
                # Requests that were sent at the same time are refused likewise, once each.
                field = self.answer_limit.change(model)
                body = request_body(request, field)
                continue
            if self.breaker.failure(fault, started):
                self._give_up(link)
                raise fault
            if fault.kind not in TRANSIENT_KINDS or attempts > self.limits.max_retries:
                raise fault
            if fault.kind in CONNECTION_KINDS:
                self._look(link, fault)
            elif fault.kind != "rate_limited" or not fault.retry_after:
                await self._back_off(link, fault, attempts)

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
        place = replace(self._chat, url=f"{self._root}/health")
        await self._get(place, place.url)

    async def version(self) -> str:
        """Returns what `GET /version` at the server's root says, or `""`; one attempt.

        Raises:
            RequestFault: There was no such answer.
        """
        place = replace(self._chat, url=f"{self._root}/version")
        body = read_json(place, 200, await self._get(place, place.url))
        version = body.get("version") if isinstance(body, dict) else None
        return version if isinstance(version, str) else ""

    def _open(self) -> _Link:
        loop = asyncio.get_running_loop()
        link = self._link
        if link is not None and link.loop is loop:
            return link
        if link is not None:
            # Its loop is closed: the sockets can't be shut down in order, only let go.
            link.session.detach()
        connector = aiohttp.TCPConnector(
            limit=self.limits.connections,
            # Below the 5 s after which uvicorn (vLLM) drops an idle connection, since a
            # request sent into a closing connection is lost.
            keepalive_timeout=4.0,
            ttl_dns_cache=60,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self.limits.attempt_timeout, sock_connect=self.limits.connect_timeout
            ),
            skip_auto_headers=("Accept-Encoding",) if is_loopback(self._base) else (),
        )
        self._link = _Link(loop, session)
        return self._link

    async def _ask(self, path: str, read: Callable[[Place, int, bytes], _T]) -> _T:
        place = replace(self._chat, url=f"{self._base}/{path}")
        attempts = 0
        while True:
            attempts += 1
            try:
                return read(place, 200, await self._get(place, place.url))
            except RequestFault as error:
                fault = error if attempts == 1 else error.copy(attempts=attempts)
            if fault.kind not in TRANSIENT_KINDS or attempts > self.limits.max_retries:
                raise fault
            await self._back_off(self._open(), fault, attempts)

    async def _enter(self, link: _Link, reservation: Reservation | None) -> None:
        """Waits until a request may be sent and is paid for, and takes its place.

        Raises:
            RequestFault: The server is gone; no place was taken.
        """
        if reservation is None:
            await self._take_place(link)
            return
        # Before the place: who waits for money must not be sent into a pause that began meanwhile.
        await reservation.reserve()
        try:
            await self._take_place(link)
        except BaseException:
            reservation.settle(0.0)
            raise

    async def _take_place(self, link: _Link) -> None:
        while True:
            if not link.back.is_set():
                await link.back.wait()
            await self.pace.acquire()
            if not link.back.is_set():
                self.pace.release()
                continue
            fault = self.breaker.blocked()
            if fault is None:
                return
            self.pace.release()
            raise fault.copy()

    async def _post(self, link: _Link, body: bytes, attempts: int, room: int) -> Completion:
        started = time.perf_counter()
        try:
            if self._chat_url is None:
                raise aiohttp.InvalidURL(self._chat.url)
            async with link.session.post(
                self._chat_url,
                data=body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                raw = await read_body(response, room)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            fault = fault_of_exception(self._chat, error, limit=self.limits.attempt_timeout)
            fault.cost = 0.0 if fault.kind in _UNSENT else None
            raise fault from error
        try:
            if response.status == 200:
                return read_completion(
                    self._chat,
                    200,
                    raw,
                    response.headers,
                    seconds=time.perf_counter() - started,
                    attempts=attempts,
                )
            raise fault_of_response(
                self._chat, response.status, json_or_none(raw), raw, response.headers
            )
        except RequestFault as fault:
            fault.cost = read_cost(raw)
            if fault.cost is None and response.status in _REFUSALS:
                fault.cost = 0.0
            raise

    async def _get(self, place: Place, url: str, limit: float = _GET_TIMEOUT) -> bytes:
        limit = min(limit, self.limits.attempt_timeout)
        link = self._open()
        try:
            async with link.session.get(
                url,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(total=limit),
            ) as response:
                raw = await read_body(response, LIST_BYTES)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise fault_of_exception(place, error, limit=limit) from error
        if response.status != 200:
            raise fault_of_response(
                place, response.status, json_or_none(raw), raw, response.headers
            )
        return raw

    def _asked_wait(self, fault: RequestFault) -> float | None:
        if fault.retry_after is None:
            return None
        return min(fault.retry_after, self.limits.retry_after_cap)

    async def _back_off(self, link: _Link, fault: RequestFault, attempts: int) -> None:
        wait = min(self.limits.backoff_cap, self.limits.backoff * 2 ** (attempts - 1))
        wait = max(wait * random.uniform(0.75, 1.25), self._asked_wait(fault) or 0.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(link.over.wait(), wait)

    def _look(self, link: _Link, fault: RequestFault) -> None:
        """Sees to it that one task looks for the server while every request waits."""
        if link.looking is None or link.looking.done():
            link.back.clear()
            link.looking = asyncio.create_task(self._look_for_server(link, fault))

    async def _look_for_server(self, link: _Link, fault: RequestFault) -> None:
        wait = min(self.limits.backoff, _LOOK_EVERY)
        told = False
        try:
            while self.breaker.fault is None:
                await asyncio.sleep(wait * random.uniform(0.75, 1.25))
                started = time.monotonic()
                try:
                    await self._get(self._chat, f"{self._base}/models", _LOOK_TIMEOUT)
                except RequestFault as found:
                    # Any status, an error's as well, comes from a server that is there.
                    back = found.status is not None
                    if found.kind in CONNECTION_KINDS:
                        fault = found
                    if not back and self.breaker.failure(fault, started):
                        self._give_up(link)
                else:
                    back = True
                if back and told:
                    self.notify("back", f"{self.target}: its server answers again")
                if back:
                    return
                if not told:
                    told = True
                    self._tell_lost(fault)
                wait = min(wait * 2, _LOOK_EVERY)
        finally:
            link.back.set()

    def _tell_lost(self, fault: RequestFault) -> None:
        patience = self.breaker.patience
        self.notify(
            "lost",
            f"{self.target}: its server {safe_url(self._base)} stopped answering ({fault.what}); "
            f"waiting up to {patience:g} s for it to come back",
        )

    def _give_up(self, link: _Link) -> None:
        """Wakes whoever waits, so that all end now with the breaker's fault."""
        link.back.set()
        link.over.set()
        link.over = asyncio.Event()
        self.pace.resume()
