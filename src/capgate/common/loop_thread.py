"""An event loop in a thread of its own, for a process whose main thread runs tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")

_PATIENCE: Final = 2.0
"""Seconds that the loop's tasks have to end after they are cancelled."""


class LoopThread:
    """Runs coroutines for other threads; its thread starts with the first of them.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def runs(self) -> bool:
        """Whether the thread was started and not closed."""
        return self._loop is not None

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Starts what `make` returns; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(_made(make), self._running())

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs what `make` returns and waits for its end.

        An interrupt of the waiting thread cancels it.
        """
        future = self.start(make)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancels what runs, waits for its end for a moment and ends the thread."""
        with self._starting:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(_cancel_all(), loop)
        try:
            ending.result(_PATIENCE + 1)
        except TimeoutError:
            pass
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_PATIENCE)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                # A process that must end does not wait for a request.
                self._thread = threading.Thread(
                    target=_serve, args=(loop,), name=self._name, daemon=True
                )
                self._thread.start()
            return self._loop


async def _made(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await make()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_PATIENCE)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
