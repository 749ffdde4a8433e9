"""The requests of a target that several servers answer for.

A request goes to the endpoint with the fewest requests in flight. An endpoint that stops answering
is left out, and what it had not answered goes to the others. It is asked again once it is proven
anew (`capgate.serving.returning`): somebody may have started it with other weights.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from capgate.client.answer_limit import AnswerLimit
from capgate.client.client import Client, Reservation
from capgate.client.faults import CONNECTION_KINDS, FINAL_KINDS
from capgate.client.limits import ClientLimits
from capgate.client.outage import Notify
from capgate.client.pacing import ModelTurns
from capgate.client.replies import Completion
from capgate.client.retry import RetryPolicy
from capgate.common.errors import CapgateError, RequestFault
from capgate.serving.addresses import Address
from capgate.serving.endpoint import Endpoint
from capgate.serving.replicas import NOT_THERE, none_answers

Readmit = Callable[[str, str, float], Endpoint | None]
"""Proves an endpoint again: takes the target's id, the endpoint's URL and when it was left out
(Unix seconds). Returns the endpoint, or None while that is not known yet; raises what speaks
against it."""

_LOST: Final = CONNECTION_KINDS | FINAL_KINDS
"""Faults that every request to an endpoint ends with."""

_FIRST_LOOK: Final = 0.5
_LAST_LOOK: Final = 10.0
"""Seconds between two questions whether an endpoint is proven again: at first, and at last."""


@dataclass(eq=False)
class Lane:
    """The way to one endpoint.

    Attributes:
        address: Where it is.
        endpoint: What was proven of it; None where it never answered.
        client: Asks it.
        turns: Has one model at a time asked, where its server mixes models up.
        in_flight: Requests that it has not answered yet.
        sent: Requests that were sent there.
        fault: Why it is left out; None while it is asked.
        since: When it was left out, Unix seconds.
        times: How often it was left out.
        refused: What spoke against it when it was proven the last time.
    """

    address: Address
    endpoint: Endpoint | None
    client: Client | None
    turns: ModelTurns | None
    in_flight: int = 0
    sent: int = 0
    fault: RequestFault | None = None
    since: float = 0.0
    times: int = 0
    refused: str = ""

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent there now."""
        return (
            self.fault is None
            and self.client is not None
            and self.in_flight < self.client.pace.limit
        )


@dataclass(frozen=True)
class _Waiting:
    """A request that waits for room."""

    place: asyncio.Future[Lane]
    avoid: Lane | None


@dataclass(frozen=True)
class Ways:
    """What the clients of a target are made with.

    Attributes:
        lane: Makes the way to an endpoint.
        readmit: Proves an endpoint again.
        notify: Shows a line once: takes its topic and the line.
    """

    lane: Callable[[Endpoint], Lane]
    readmit: Readmit
    notify: Notify = field(default=lambda topic, line: None)  # noqa: ARG005


class EndpointClients:
    """Asks the servers of one target, in the form of `client.Client`.

    Only the thread that asks uses it.

    Args:
        first: The endpoints, and those that did not answer.
        each: Times and counts of one endpoint; its connections are those of each.
        ways: What the clients are made with.

    Attributes:
        limits: Times and counts of all together.
    """

    def __init__(self, first: Endpoint, each: ClientLimits, ways: Ways) -> None:
        self._target = first.target
        self._ways = ways
        self._lanes = [ways.lane(one) for one in first.all]
        now = time.time()
        self._lanes += [
            Lane(one, None, None, None, fault=_silent(first.target, one), since=now)
            for one in first.absent
        ]
        self.limits = replace(each, connections=each.connections * len(self._lanes))
        self._retry = RetryPolicy(self.limits)
        self._patience = each.patience
        self._first_patience = each.first_patience
        self._answered = False
        self._former: list[Client] = []
        self._waiting: deque[_Waiting] = deque()
        self._gone: RequestFault | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        self._proving: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def base_url(self) -> str:
        """The first endpoint's root, without credentials."""
        return self._first.base_url

    @property
    def answer_limit(self) -> AnswerLimit:
        """Which field bounds an answer."""
        return self._first.answer_limit

    @property
    def given_up(self) -> bool:
        """Whether no endpoint is asked any more."""
        return self._gone is not None

    @property
    def live(self) -> tuple[Endpoint, ...]:
        """The endpoints that are asked now."""
        return tuple(
            lane.endpoint
            for lane in self._lanes
            if lane.fault is None and lane.endpoint is not None
        )

    @property
    def _first(self) -> Client:
        client = self._lanes[0].client
        assert client is not None, "the first endpoint answered at the start"
        return client

    async def complete(
        self, request: Mapping[str, Any], reservation: Reservation | None = None
    ) -> Completion:
        """Asks one of the endpoints for one chat completion, as often as the limits allow.

        Args:
            request: The request's JSON object; the model's name is the endpoint's own.
            reservation: What each attempt is paid from, where the cost is bounded.

        Raises:
            RequestFault: There was no answer.
            Exception: What `reservation` raised, since there was not enough money left.
        """
        self._bind()
        attempts = 0
        failed: Lane | None = None
        while True:
            lane = await self._take(failed)
            client = lane.client
            try:
                answer = await _ask(lane, request, reservation)
                self._answered = True
                return replace(
                    answer, endpoint=lane.address.place, attempts=attempts + answer.attempts
                )
            except RequestFault as raised:
                fault, lost = raised, raised.kind in _LOST or (client and client.given_up)
                if lost and lane.client is client:
                    self._leave_out(lane, raised)
            finally:
                lane.in_flight -= 1
                self._wake()
            attempts += 1
            failed = lane
            if not self._retry_elsewhere(fault, attempts, lost=bool(lost)):
                raise fault if attempts == 1 else fault.copy(attempts=attempts)
            if not lost and (attempts > 1 or len(self.live) == 1):
                await asyncio.sleep(self._retry.back_off(fault, attempts))

    def _retry_elsewhere(self, fault: RequestFault, attempts: int, *, lost: bool) -> bool:
        """Whether a request that failed is sent once more."""
        if lost:
            # A question that ends each server that it is put to must not end all of them.
            return self._gone is None and attempts <= self.limits.max_retries
        return self._retry.again(fault, attempts)

    async def aclose(self) -> None:
        """Closes this event loop's connections; they are opened anew when asked again."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        if self._proving is not None:
            self._proving.cancel()
            self._proving = None
        clients = [lane.client for lane in self._lanes if lane.client is not None]
        for client in [*clients, *self._former]:
            await client.aclose()

    # Who is asked.

    async def _take(self, failed: Lane | None) -> Lane:
        """Waits for a place at an endpoint, another one than where the request failed.

        Raises:
            RequestFault: No endpoint answers any more.
        """
        if self._gone is not None:
            raise self._gone.copy()
        lane = None if self._waiting and failed is None else self._best(failed)
        if lane is not None:
            return _placed(lane)
        place: asyncio.Future[Lane] = asyncio.get_running_loop().create_future()
        one = _Waiting(place, failed)
        if failed is None:
            self._waiting.append(one)
        else:
            # What was asked before others were is answered before them.
            self._waiting.appendleft(one)
        self._look_for_lost()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                place.result().in_flight -= 1
                self._wake()
            raise

    def _best(self, failed: Lane | None) -> Lane | None:
        """The endpoint with the fewest requests in flight that has room; None where none has."""
        free = [lane for lane in self._lanes if lane.has_room]
        unpaused = [one for one in free if one.client is not None and not one.client.pace.paused]
        return min(
            unpaused or free,
            key=lambda lane: (lane is failed, lane.in_flight, lane.sent),
            default=None,
        )

    def _wake(self) -> None:
        """Gives room to the requests that wait for it."""
        while self._waiting:
            one = self._waiting[0]
            if one.place.done():
                self._waiting.popleft()
                continue
            if self._gone is not None:
                self._waiting.popleft()
                one.place.set_exception(self._gone.copy())
                continue
            lane = self._best(one.avoid)
            if lane is None:
                return
            self._waiting.popleft()
            one.place.set_result(_placed(lane))

    # Endpoints that stop answering, and that come back.

    def _leave_out(self, lane: Lane, fault: RequestFault) -> None:
        if lane.fault is not None:
            return  # another request found that out
        lane.fault, lane.since = fault.copy(), time.time()
        lane.times += 1
        lane.refused = ""
        url, place = lane.address.base_url, lane.address.place
        if self.live:
            self._ways.notify(
                f"left out {lane.times} {url}",
                f"{self._target}: its endpoint {place} stopped answering ({fault.what}); the "
                "others are asked in its place",
            )
        else:
            self._all_are_lost(fault)
        self._look_for_lost()

    def _all_are_lost(self, fault: RequestFault) -> None:
        """Waits a moment for an endpoint to come back, before nothing is asked any more."""
        patience = self._patience if self._answered else self._first_patience
        if fault.kind not in CONNECTION_KINDS:
            patience = 0.0
        gone = none_answers([(one.address, one.fault) for one in self._lanes if one.fault])
        if patience:
            self._ways.notify(
                f"all lost {sum(lane.times for lane in self._lanes)} {self.base_url}",
                f"{self._target}: {gone.what}; waiting up to {patience:g} s for one to come back",
            )
            loop = asyncio.get_running_loop()
            self._giving_up = loop.call_later(patience, self._give_up, gone)
        else:
            self._give_up(gone)

    def _give_up(self, fault: RequestFault) -> None:
        self._giving_up = None
        if not self.live:
            self._gone = fault
            self._wake()

    def _look_for_lost(self) -> None:
        """Starts to look for endpoints that were left out, unless a task does so already."""
        lost = any(lane.fault is not None for lane in self._lanes)
        if lost and (self._proving is None or self._proving.done()):
            self._proving = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        wait = _FIRST_LOOK
        while lost := [lane for lane in self._lanes if lane.fault is not None]:
            await asyncio.sleep(wait)
            for lane in lost:
                await self._prove(lane)
            wait = min(wait * 1.5, _LAST_LOOK)

    async def _prove(self, lane: Lane) -> None:
        url, place = lane.address.base_url, lane.address.place
        try:
            found = await asyncio.to_thread(self._ways.readmit, self._target, url, lane.since)
        except CapgateError as fault:
            away = isinstance(fault, RequestFault) and fault.kind in NOT_THERE
            if not away and not lane.refused:
                lane.refused = str(fault)
                self._ways.notify(
                    f"refused {lane.times} {url}",
                    f"{self._target}: its endpoint {place} answers again and is not asked, since "
                    f"it is not proven: {fault}",
                )
            return
        if found is None:
            return
        made = self._ways.lane(found)
        old, lane.client = lane.client, made.client
        lane.endpoint, lane.turns, lane.fault = found, made.turns, None
        self._gone = None
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        self._ways.notify(
            f"back {lane.times} {url}",
            f"{self._target}: its endpoint {place} answers, is proven and is asked again",
        )
        if old is not None:
            # What it is still asked is answered there, or not at all.
            self._former.append(old)
        self._wake()

    def _bind(self) -> None:
        """Starts anew in another event loop: the tasks of the former one never end."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._waiting.clear()
            self._giving_up = self._proving = None
            for lane in self._lanes:
                lane.in_flight = 0
        self._look_for_lost()


async def _ask(
    lane: Lane, request: Mapping[str, Any], reservation: Reservation | None
) -> Completion:
    """Sends a request to an endpoint, under the names that it has there."""
    endpoint, client = lane.endpoint, lane.client
    assert endpoint is not None, "an endpoint that never answered is not asked"
    assert client is not None, "an endpoint that never answered is not asked"
    body = {**request, "model": endpoint.model}
    if endpoint.salt:
        body["cache_salt"] = endpoint.salt
    if lane.turns is None:
        return await client.complete(body, reservation)
    async with lane.turns.of(endpoint.model):
        return await client.complete(body, reservation)


def _placed(lane: Lane) -> Lane:
    lane.in_flight += 1
    lane.sent += 1
    return lane


def _silent(target: str, address: Address) -> RequestFault:
    return RequestFault(
        "unreachable", "it did not answer when the run began", target=target, url=address.base_url
    )
