"""An event between threads and coroutines: doubles serve in a loop of their own."""

from __future__ import annotations

import asyncio
import threading


class Signal(threading.Event):
    """An event that any thread sets and waits for, and coroutines of any loop as well."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._awaited: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def set(self) -> None:
        """Lets all go on that wait, now and from now on."""
        with self._lock:
            super().set()
            for loop, event in self._awaited:
                loop.call_soon_threadsafe(event.set)
            self._awaited.clear()

    async def arrives(self) -> None:
        """Waits without keeping the loop from its other work."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._lock:
            if self.is_set():
                return
            self._awaited.append(entry)
        try:
            await event.wait()
        finally:
            # Its loop may be closed by the time that the event is set.
            with self._lock:
                if entry in self._awaited:
                    self._awaited.remove(entry)
