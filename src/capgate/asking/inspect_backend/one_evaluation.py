"""How a process runs evaluations of Inspect's own: one at a time, and off the terminal."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from inspect_ai.util import display_type

_DISPLAY: Final = "INSPECT_DISPLAY"

_POLL_SECONDS: Final = 0.02

_turn: Final = threading.Lock()


@asynccontextmanager
async def one_evaluation() -> AsyncIterator[None]:
    """Waits until no other evaluation runs in this process, in any of its threads.

    Inspect refuses a second one.
    """
    while not _turn.acquire(blocking=False):
        await asyncio.sleep(_POLL_SECONDS)
    try:
        _show_nothing()
        yield
    finally:
        _turn.release()


@functools.cache
def _show_nothing() -> None:
    # Only `eval()` has an argument for it; `eval_async()` takes what was settled before.
    before = os.environ.get(_DISPLAY)
    os.environ[_DISPLAY] = "none"
    try:
        display_type()
    finally:
        if before is None:
            del os.environ[_DISPLAY]
        else:
            os.environ[_DISPLAY] = before
