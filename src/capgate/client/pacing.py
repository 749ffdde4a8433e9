"""How many requests a server gets at once, and in which order.

`AdaptiveLimit` finds the parallelism that a rate limit allows. `ModelTurns` has one model at a
time asked. `OneAtATime` has requests sent before answers are processed. None of them does I/O.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

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

    @property
    def paused(self) -> bool:
        """Whether the server wants no request at the moment."""
        return self._pause() > 0

    async def acquire(self) -> None:
        """Waits for a place; the request that waits longest gets it."""
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
        """Ends a pause, so that waiting requests learn at once that the server is gone."""
        self._paused_until = float("-inf")
        self._disarm()
        self._wake()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts anew in another event loop: the former one's timer never fires."""
        self._disarm()
        self._waiters.clear()
        self.busy = 0
        self._loop = loop

    def _pause(self) -> float:
        """Seconds that a pause still lasts, at most 0 where there is none.

        Read once for each decision: were the clock asked anew whether to set the timer, a pause
        that ended in between would leave its waiters asleep for ever.
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


class ModelTurns:
    """Has one model at a time asked, at a server that mixes models up that it answers at once.

    A request for the model whose turn it is may be sent. The others wait until none of those is
    in flight. Then the turn goes to the model whose first request has waited longest.

    Args:
        apart: Whether the server mixes models up; where it does not, no request waits.

    Attributes:
        apart: The same. It may change while no request is in flight.
    """

    def __init__(self, *, apart: bool = True) -> None:
        self.apart = apart
        self._loop: asyncio.AbstractEventLoop | None = None
        self._model = ""
        self._inside = 0
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def of(self, model: str) -> AsyncIterator[None]:
        """Waits until it is the model's turn, which lasts for the block."""
        if not self.apart:
            yield
            return
        await self.enter(model)
        try:
            yield
        finally:
            self.leave()

    async def enter(self, model: str) -> None:
        """Waits until it is the model's turn."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # The former event loop's requests are gone with it.
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
        """Ends a request that entered."""
        self._inside -= 1
        while not self._inside and self._waiting:
            self._model = next(iter(self._waiting))
            for place in self._waiting.pop(self._model):
                if not place.done():
                    self._inside += 1
                    place.set_result(None)


class OneAtATime:
    """Lets one coroutine pass in each iteration of the event loop, in the order of their arrival.

    Long work, such as scoring an answer, passes here first. So short work, such as sending the
    next request or reading an answer, waits for one piece of long work at most.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Waits until the caller may pass."""
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
