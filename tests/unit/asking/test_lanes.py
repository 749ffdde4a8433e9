"""Lanes: coroutines in order, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capgate.asking.inspect_backend.lanes import Lane, Work


class Course:
    """Notes what starts and how many run at a time."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int]] = []
        self.running = self.most = 0

    async def step(self, work: int, at: int, turns: int) -> None:
        """Runs for some turns of the event loop."""
        self.started.append((work, at))
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(turns):
            await asyncio.sleep(0)
        self.running -= 1

    def work(self, number: int, turns: list[int]) -> Iterator[Coroutine[Any, Any, None]]:
        """One coroutine for each number of turns."""
        return (self.step(number, at, one) for at, one in enumerate(turns))


@settings(deadline=None)
@given(st.integers(1, 4), st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=4))
def test_all_run_in_order_and_never_too_many(width: int, works: list[list[int]]) -> None:
    """Whatever was put first starts first; each runs once; a lane's width is kept and used."""
    course = Course()
    taken: list[int] = []

    async def run() -> None:
        lane = Lane(width)
        made = [
            Work(course.work(number, turns), lambda number=number: taken.append(number))  # type: ignore[misc]
            for number, turns in enumerate(works)
        ]
        for work in made:
            lane.put(work)
        await asyncio.gather(*(work.ended for work in made))

    asyncio.run(run())
    expected = [(number, at) for number, turns in enumerate(works) for at in range(len(turns))]
    assert course.started == expected
    assert course.most <= width
    assert sorted(taken) == list(range(len(works)))


def test_the_first_failure_cancels_the_rest() -> None:
    """What runs is cancelled, what waits never starts, and the lane goes on with other work."""
    course = Course()

    async def fails() -> None:
        raise ValueError("no")

    async def run() -> None:
        lane = Lane(2)

        def steps() -> Iterator[Coroutine[Any, Any, None]]:
            yield course.step(0, 0, 50)
            yield fails()
            yield course.step(0, 2, 50)

        broken = Work(steps(), lambda: None)
        other = Work(course.work(1, [0, 0]), lambda: None)
        lane.put(broken)
        lane.put(other)
        with pytest.raises(ValueError, match="no"):
            await broken.ended
        await other.ended

    asyncio.run(run())
    assert course.started == [(0, 0), (1, 0), (1, 1)]


def test_cancelled_work_ends_when_its_coroutines_have() -> None:
    """`ended` waits for what a cancelled coroutine still does."""
    tidied: list[bool] = []

    async def tidies_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            tidied.append(True)

    async def run() -> None:
        lane, work = Lane(1), Work(iter([tidies_up()]), lambda: None)
        lane.put(work)
        await asyncio.sleep(0)
        work.cancel()
        await work.ended

    asyncio.run(run())
    assert tidied == [True]
