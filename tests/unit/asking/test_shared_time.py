"""The time of asking, divided among the batches that are asked at the same time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.asking.batches import PendingBatch, QuestionBatch
from capgate.asking.shared_time import SharedTime


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def batch(name: str) -> PendingBatch:
    """A batch without questions."""
    return PendingBatch(QuestionBatch(name, ()), [], name, "first")


def test_what_is_asked_at_the_same_time_shares_it() -> None:
    """Two batches that overlap have each half of the time in which they do."""
    clock = Clock()
    shared, one, other = SharedTime(clock), batch("one"), batch("other")
    with ExitStack() as first:
        first.enter_context(shared.of([one]))
        clock.now = 2.0
        with shared.of([other]):
            clock.now = 6.0
        clock.now = 7.0
    clock.now = 100.0
    with shared.of([other]):
        clock.now = 101.0
    assert (one.seconds, other.seconds) == (2.0 + 2.0 + 1.0, 2.0 + 1.0)


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.floats(0.0, 10.0, allow_nan=False)),
        min_size=1,
        max_size=30,
    )
)
def test_the_parts_sum_to_the_whole(steps: list[tuple[int, float]]) -> None:
    """All batches together have as many seconds as there were with any of them asked.

    Each step starts to ask a batch or ends that, and lets some time pass.
    """
    clock = Clock()
    shared = SharedTime(clock)
    batches = [batch(str(number)) for number in range(5)]
    open_now: dict[int, ExitStack] = {}
    busy = 0.0
    for number, passing in steps:
        if number in open_now:
            open_now.pop(number).close()
        else:
            open_now[number] = ExitStack()
            open_now[number].enter_context(shared.of([batches[number]]))
        clock.now += passing
        busy += passing if open_now else 0.0
    for stack in open_now.values():
        stack.close()
    assert sum(one.seconds for one in batches) == pytest.approx(busy)
