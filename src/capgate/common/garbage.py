"""Python's collector of cyclic garbage, kept out of the way while much is made and kept."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Final

_RARELY: Final = (50_000, 10, 10)
"""Thresholds: imports and evals make objects by the hundred thousand and next to no cycles, and
each collection stops all else for some hundredths of a second."""


@contextlib.contextmanager
def collected_rarely(*, frozen: bool = False) -> Iterator[None]:
    """Has the process's garbage collected rarely for the length of a block.

    Args:
        frozen: What is alive now is walked by no later collection; what is dead by then is
            collected first, since the frozen is never freed if it is in a cycle.
    """
    before = gc.get_threshold()
    if frozen:
        gc.collect()
        gc.freeze()
    gc.set_threshold(*_RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*before)
