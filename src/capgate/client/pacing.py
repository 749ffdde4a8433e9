"""How hard to ask a server, in which order, and when to stop asking.

`AdaptiveLimit` finds the parallelism that a rate limit allows; `Turns` keeps models apart at
a server that mixes them up; `Lane` has requests sent before answers are dealt with; `Breaker`
tells a server that is gone from one that has a bad moment. None of them does I/O.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from capgate.client.faults import CONNECTION_KINDS, FINAL_KINDS
from capgate.common.errors import FaultKind, RequestFault

Clock = Callable[[], float]


class AdaptiveLimit:
    """A bound on requests in flight: halved when a rate limit is hit, grown by ones.

    A whole flight that is refused together halves the bound once: only a request that
    started after the last halving says anything about the new bound. One full round of
    successes raises it by one, up to `most`.

    Args:
        most: Upper bound, and the bound at the start.
        clock: Monotonic seconds.
    """

    def __init__(self, most: int, *, clock: Clock = time.monotonic) -> None:
        self.most = max(1, most)
        self.busy = 0
        self._limit = float(self.most)
        self._clock = clock
        self._halved_at = float("-inf")
        self._paused_until = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    async def acquire(self) -> None:
        """Waits for a place; first come, first served."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        pause = self._pause()
        if not self._waiters and pause <= 0 and self.busy < self.limit:
            self.busy += 1
            return
        place: asyncio.Future[None] = loop.create_future()
        self._waiters.append(place)
        self._arm(pause)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Gives a place back."""
        self.busy -= 1
        self._wake()

    def succeeded(self) -> None:
        """Counts an answered request."""
        if self._limit < self.most:
            self._limit = min(float(self.most), self._limit + 1.0 / self._limit)
            self._wake()

    def throttled(self, started: float, pause: float | None = None) -> None:
        """Counts a request that was refused for its rate.

        Args:
            started: When it was sent, on this object's clock.
            pause: Seconds for which the server wants nothing, where it said so; they hold
                for every request, since a rate limit is the key's and not the request's.
        """
        now = self._clock()
        if started > self._halved_at:
            self._limit = max(1.0, self._limit / 2)
            self._halved_at = now
        if pause:
            self._paused_until = max(self._paused_until, now + pause)

    def resume(self) -> None:
        """Ends a pause, so that waiting requests learn at once that all is over."""
        self._paused_until = float("-inf")
        self._disarm()
        self._wake()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forgets what belonged to an event loop that is gone: its timer would never fire."""
        self._disarm()
        self._waiters.clear()
        self.busy = 0
        self._loop = loop

    def _pause(self) -> float:
        """Seconds that a pause still lasts, at most 0 where there is none.

        Read once for each decision: were the clock asked anew whether to set the timer, a pause
        that ended in between would leave its waiters asleep for good.
        """
        return self._paused_until - self._clock()

    def _wake(self) -> None:
        if not self._waiters:
            return
        pause = self._pause()
        while self._waiters and pause <= 0 and self.busy < self.limit:
            place = self._waiters.popleft()
            if not place.done():
                self.busy += 1
                place.set_result(None)
        if self._waiters:
            self._arm(pause)

    def _arm(self, pause: float) -> None:
        if pause > 0 and self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(pause, self._timed)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed(self) -> None:
        self._timer = None
        self._wake()


class Turns:
    """One model at a time is asked at a server that mixes up what it answers at once.

    Whoever asks for the model whose turn it is goes in; the others wait until nobody of it is
    inside, and then all of the one that waited longest go.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._model = ""
        self._inside = 0
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def enter(self, model: str) -> None:
        """Waits until it is the model's turn."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Whoever was inside is gone with the other event loop.
            self._loop, self._inside = loop, 0
            self._waiting.clear()
        if not self._inside or model == self._model:
            self._model = model
            self._inside += 1
            return
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(model, []).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Says that one who entered asks no more."""
        self._inside -= 1
        while not self._inside and self._waiting:
            self._model = next(iter(self._waiting))
            for place in self._waiting.pop(self._model):
                if not place.done():
                    self._inside += 1
                    place.set_result(None)


class Lane:
    """Lets through one in each turn of the event loop, first come, first served.

    What is long to do goes through it, so that what is short, such as to send the next request
    or to read an answer, has to wait for one of them at most.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Waits for the own turn."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._waiting.clear()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            loop.call_soon(self._next)
        await turn

    def _next(self) -> None:
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        if not self._waiting or self._loop is None:
            return
        self._waiting.popleft().set_result(None)
        if self._waiting:
            self._loop.call_soon(self._next)


_Sort = Literal["connection", "final", "request", "rate", "server"]


@dataclass(frozen=True, slots=True)
class _Rule:
    failures: int
    """Failures in a row, with no answer between."""
    patience: float
    """Seconds since the first of them was sent."""


_QUESTION_KINDS: Final[frozenset[FaultKind]] = frozenset({"context_too_long", "moderation"})


class Breaker:
    """Opens when nothing that is asked of a server can be answered any more.

    Counts failures of one sort in a row. It opens after a few of a sort that concerns
    every request (key, credit, model, route), and after `patience` seconds without any
    answer where the server may yet come back. While open it holds the fault that every
    request ends with; each `cooldown` seconds it lets one request through to look.

    Args:
        patience: Seconds without an answer after which a server that worked is gone.
        first_patience: The same for a server that never answered.
        rate_patience: The same where every answer is a rate limit.
        cooldown: Seconds between looks at a server that is gone.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        patience: float = 20.0,
        first_patience: float = 3.0,
        rate_patience: float = 120.0,
        cooldown: float = 30.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.fault: RequestFault | None = None
        self._patience = patience
        self._first_patience = first_patience
        self._rate_patience = rate_patience
        self._cooldown = cooldown
        self._clock = clock
        self._answered = False
        self._sort: _Sort | None = None
        self._count = 0
        self._since = 0.0
        self._look_at = 0.0

    @property
    def patience(self) -> float:
        """Seconds that a server may be out of reach before it counts as gone."""
        return self._patience if self._answered else self._first_patience

    def blocked(self) -> RequestFault | None:
        """Returns the fault that a request ends with now, or None where it may be sent."""
        if self.fault is None:
            return None
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + self._cooldown
            return None
        return self.fault

    def success(self) -> None:
        """Counts an answer."""
        self._answered = True
        self._sort = None
        self.fault = None

    def failure(self, fault: RequestFault, started: float) -> bool:
        """Counts a failure; True where the breaker is open after it.

        Args:
            fault: What the request or a look at the server ended with.
            started: When it was sent, on this object's clock.
        """
        if fault.kind in _QUESTION_KINDS:
            self.success()
            return False
        sort = self._sort_of(fault)
        if sort != self._sort:
            self._sort, self._count, self._since = sort, 0, started
        self._count += 1
        self._since = min(self._since, started)
        now = self._clock()
        rule = self._rule(sort)
        if self.fault is not None or (
            self._count >= rule.failures and now - self._since >= rule.patience
        ):
            self.fault = fault.copy()
            self._look_at = now + self._cooldown
            return True
        return False

    @staticmethod
    def _sort_of(fault: RequestFault) -> _Sort:
        if fault.kind in CONNECTION_KINDS:
            return "connection"
        if fault.kind in FINAL_KINDS:
            return "final"
        if fault.kind == "bad_request":
            return "request"
        return "rate" if fault.kind == "rate_limited" else "server"

    def _rule(self, sort: _Sort) -> _Rule:
        match sort:
            case "final":
                return _Rule(3, 0.0)
            case "request":
                return _Rule(16, 0.0)
            case "connection":
                return _Rule(3, self.patience)
            case "rate":
                return _Rule(8, self._rate_patience)
            case "server":
                return _Rule(8, self._patience)
