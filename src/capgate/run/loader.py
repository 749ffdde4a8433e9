"""Adapters of a sweep are loaded while others are asked, one after the other."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

from capgate.common.errors import CapgateError


class Loader:
    """Loads adapters in a thread of its own, which ends with the process.

    Args:
        load: Loads one; what it raises is raised again to those who ask for the adapter.
    """

    def __init__(self, load: Callable[[str], object]) -> None:
        self._load = load
        self._asked_for: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.loading = 0
        """How many adapters were begun and not taken."""

    def begin(self, target: str) -> None:
        """Has an adapter loaded."""
        if self._thread is None:
            # A daemon, for a server that never answers must not keep the process from its end.
            self._thread = threading.Thread(target=self._run, daemon=True, name="capgate-loading")
            self._thread.start()
        self.loading += 1
        self._asked_for.put(target)

    def take(self, *, wait: bool) -> str | None:
        """The next adapter whose loading has ended; None where none has.

        Args:
            wait: Whether to wait for one that is being loaded.
        """
        if not self.loading:
            return None
        with contextlib.suppress(queue.Empty):
            target = self._done.get(block=wait)
            self.loading -= 1
            return target
        return None

    def _run(self) -> None:
        while True:
            target = self._asked_for.get()
            try:
                with contextlib.suppress(CapgateError):
                    self._load(target)
            finally:
                self._done.put(target)
