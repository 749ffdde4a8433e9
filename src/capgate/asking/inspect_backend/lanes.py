"""Coroutines run in the order in which they were put, a bounded number of them at a time."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any


class Work:
    """Coroutines that end together.

    Args:
        left: The coroutines, each made when it is its turn.
        taken: Called when the last one has been started and there is room for another.

    Attributes:
        ended: Done when all have ended; the first exception of one of them is its exception.
    """

    def __init__(
        self, left: Iterator[Coroutine[Any, Any, None]], taken: Callable[[], None]
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = left
        self._taken = taken
        self._running: set[asyncio.Task[None]] = set()
        self._all_taken = False
        self._fault: BaseException | None = None

    def take(self) -> Coroutine[Any, Any, None] | None:
        """The next coroutine; None where there is none left."""
        one = next(self._left, None)
        if one is None and not self._all_taken:
            self._all_taken = True
            self._taken()
            self._end()
        return one

    def started(self, task: asyncio.Task[None]) -> None:
        """Notes that a coroutine runs."""
        self._running.add(task)

    def stopped(self, task: asyncio.Task[None]) -> None:
        """Notes that a coroutine has ended; where it failed, the others are cancelled."""
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = self._fault or task.exception()
            self.cancel()
        self._end()

    def cancel(self) -> None:
        """Starts no further coroutine and cancels those that run."""
        self._left = iter(())
        self._all_taken = True
        for task in self._running:
            task.cancel()
        self._end()

    def _end(self) -> None:
        if self._all_taken and not self._running and not self.ended.done():
            if self._fault is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(self._fault)


class Lane:
    """Runs work in order.

    Args:
        width: Most coroutines at a time.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._busy = 0
        self._waiting: deque[Work] = deque()

    def put(self, work: Work) -> None:
        """Has work run after what was put before."""
        self._waiting.append(work)
        self._fill()

    def _fill(self) -> None:
        while self._busy < self._width and self._waiting:
            work = self._waiting[0]
            one = work.take()
            if one is None:
                # `taken` may have put more.
                self._waiting.remove(work)
                continue
            task = asyncio.get_running_loop().create_task(one)
            self._busy += 1
            work.started(task)
            task.add_done_callback(functools.partial(self._stopped, work))

    def _stopped(self, work: Work, task: asyncio.Task[None]) -> None:
        self._busy -= 1
        work.stopped(task)
        self._fill()
