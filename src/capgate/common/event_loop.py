"""Running asynchronous code from synchronous code, wherever that is called from."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def in_own_loop(make: Callable[[], Awaitable[T]]) -> T:
    """Runs what `make` returns in an event loop and thread of its own, and waits for it.

    Works whether or not the calling thread's event loop already runs.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    async def main() -> T:
        return await make()

    def run() -> None:
        try:
            done.append(asyncio.run(main()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
