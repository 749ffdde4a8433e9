"""Garbage is collected rarely while much is made, and as before afterwards."""

from __future__ import annotations

import gc
from contextlib import ExitStack

import pytest

from capgate.common.garbage import collected_rarely


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_the_last_of_several_blocks_restores_the_thresholds(first_ends_first: bool) -> None:
    """Blocks of several threads overlap in any way: none ends another one."""
    before = gc.get_threshold()
    first, second = ExitStack(), ExitStack()
    first.enter_context(collected_rarely())
    rarely = gc.get_threshold()
    second.enter_context(collected_rarely())
    early, late = (first, second) if first_ends_first else (second, first)
    with late:
        early.close()
        assert gc.get_threshold() == rarely
    assert rarely > before
    assert gc.get_threshold() == before


def test_a_block_that_fails_restores_the_thresholds() -> None:
    """Also where an exception ends it."""
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="x"), collected_rarely():
        raise ValueError("x")
    assert gc.get_threshold() == before
