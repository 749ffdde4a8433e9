"""The wall time of asking, divided among the batches that are asked at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from capgate.asking.batches import PendingBatch


class SharedTime:
    """Charges each moment to the batches that are asked in it, in equal parts.

    So the seconds of all batches sum to the time in which any was asked, though a server works on
    the next ones while it ends the first. Only the thread that asks uses it.

    Args:
        clock: Tells the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: list[PendingBatch] = []
        self._since = 0.0

    @contextmanager
    def of(self, batches: Sequence[PendingBatch]) -> Iterator[None]:
        """A block in which batches are asked."""
        self._charge()
        self._asked += batches
        try:
            yield
        finally:
            self._charge()
            ended = set(map(id, batches))
            self._asked = [one for one in self._asked if id(one) not in ended]

    def _charge(self) -> None:
        now = self._clock()
        for batch in self._asked:
            batch.seconds += (now - self._since) / len(self._asked)
        self._since = now
