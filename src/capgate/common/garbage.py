"""Python's collector of cyclic garbage, kept out of the way while much is made and kept."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Final

_RARELY: Final = (50_000, 20, 20)
"""Thresholds: imports, questions and answers are objects by the hundred thousand and next to no
cycles, and each collection stops all else for some hundredths of a second."""


@contextlib.contextmanager
def collected_rarely() -> Iterator[None]:
    """Has the process's garbage collected rarely for the length of a block.

    Several blocks may run at the same time, in one thread or in several.
    """
    _thresholds.enter()
    try:
        yield
    finally:
        _thresholds.leave()


class _Thresholds:
    """The collector's thresholds, raised while a block needs that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = gc.get_threshold()

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = gc.get_threshold()
                gc.set_threshold(*_RARELY)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                gc.set_threshold(*self._before)


_thresholds = _Thresholds()
