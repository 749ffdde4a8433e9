"""Python's collector of cyclic garbage, kept out of the way while much is made and kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from capgate.common.while_needed import WhileNeeded

_RARELY: Final = (50_000, 20, 20)
"""Thresholds: imports, questions and answers are objects by the hundred thousand and next to no
cycles, and each collection stops all else for some hundredths of a second."""


def collected_rarely() -> AbstractContextManager[None]:
    """Has the process's garbage collected rarely for the length of a block.

    Several blocks may run at the same time, in one thread or in several.
    """
    return _rarely.block()


@contextmanager
def _raised() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*_RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


_rarely = WhileNeeded(_raised)
