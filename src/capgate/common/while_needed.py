"""Something of the whole process that is otherwise while any block needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager


class WhileNeeded:
    """Makes a change when the first of several blocks begins, and undoes it when the last ends.

    The blocks may overlap, in one thread or in several.

    Args:
        change: Makes the change when it is entered, and undoes it when it is left.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0
        self._made = ExitStack()

    @contextmanager
    def block(self) -> Iterator[None]:
        """A block that needs the change."""
        with self._lock:
            if not self._inside:
                self._made.enter_context(self._change())
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._made.close()
