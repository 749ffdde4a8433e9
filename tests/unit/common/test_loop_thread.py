"""An event loop in a thread of its own, as the main thread uses it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from capgate.common.loop_thread import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    """A loop that is closed at the end."""
    made = LoopThread("test")
    yield made
    made.close()


def test_coroutines_share_one_thread(loop: LoopThread) -> None:
    """Each runs in the same thread, which is not the caller's, and gives its result."""

    async def where() -> int:
        return threading.get_ident()

    first, second = loop.run(where), loop.run(where)
    assert first == second != threading.get_ident()


def test_no_thread_is_started_for_nothing(loop: LoopThread) -> None:
    """It starts with the first coroutine, and can be started anew after it was closed."""

    async def nothing() -> None:
        return None

    assert not loop.runs
    loop.run(nothing)
    assert loop.runs
    loop.close()
    assert not loop.runs
    loop.run(nothing)
    assert loop.runs


def test_a_failure_is_the_caller_s(loop: LoopThread) -> None:
    """What a coroutine raises is raised where it is waited for."""

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.run(fails)


def test_an_interrupt_cancels_what_is_waited_for(loop: LoopThread) -> None:
    """Ctrl-C reaches the waiting thread, and the coroutine is cancelled."""
    cancelled = threading.Event()

    async def waits() -> None:
        # By then the other thread waits.
        asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(KeyboardInterrupt):
        loop.run(waits)
    assert cancelled.wait(60)


def test_closing_cancels_what_still_runs() -> None:
    """What nobody waits for is cancelled, and may tidy up, before the thread ends."""
    loop, begun, tidied = LoopThread("test"), threading.Event(), threading.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            tidied.set()

    loop.start(waits)
    assert begun.wait(60)
    loop.close()
    assert tidied.is_set()
