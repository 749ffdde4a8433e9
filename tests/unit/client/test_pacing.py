"""The bound on parallelism and the breaker, on a clock of their own."""

from __future__ import annotations

import asyncio
import itertools
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.client.breaker import Breaker
from capgate.client.pacing import AdaptiveLimit, ModelTurns, OneAtATime
from capgate.common.errors import FaultKind, RequestFault


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fault(kind: FaultKind = "refused") -> RequestFault:
    """Returns a fault of that kind."""
    return RequestFault(kind, "what", target="t", url="http://h/v1")


def test_halves_once_for_one_flight() -> None:
    """Sixty-four requests that are refused together halve the bound once."""
    clock = Clock()
    limit = AdaptiveLimit(64, clock=clock)
    sent = clock.now
    clock.now += 1
    for _ in range(64):
        limit.throttled(sent)
    assert limit.limit == 32
    clock.now += 1
    limit.throttled(clock.now)
    assert limit.limit == 16


def test_never_below_one() -> None:
    """However often it is refused, one request at a time may go."""
    clock = Clock()
    limit = AdaptiveLimit(64, clock=clock)
    for _ in range(20):
        clock.now += 1
        limit.throttled(clock.now)
    assert limit.limit == 1


def test_grows_by_one_a_round() -> None:
    """One round of successes raises the bound by one, and never above its maximum."""
    clock = Clock()
    limit = AdaptiveLimit(10, clock=clock)
    limit.throttled(clock.now)
    seen = [limit.limit]
    for _ in range(200):
        limit.succeeded()
        seen.append(limit.limit)
    assert seen[0] == 5
    assert seen[4] == 5
    assert seen[7] == 6
    assert seen[-1] == 10
    assert all(b - a in (0, 1) for a, b in pairwise(seen))


def test_first_come_first_served() -> None:
    """Whoever waits longest goes next."""

    async def main() -> list[int]:
        limit = AdaptiveLimit(1)
        order: list[int] = []

        async def one(number: int) -> None:
            await limit.acquire()
            order.append(number)
            await asyncio.sleep(0)
            limit.release()

        await asyncio.gather(*(one(number) for number in range(6)))
        return order

    assert asyncio.run(main()) == [0, 1, 2, 3, 4, 5]


def test_pause_holds_everyone() -> None:
    """A pause that one request was asked for holds for the others too, and ends by itself."""

    async def main() -> float:
        limit = AdaptiveLimit(4)
        loop = asyncio.get_running_loop()
        limit.throttled(loop.time(), 0.05)
        started = loop.time()
        await asyncio.gather(limit.acquire(), limit.acquire())
        return loop.time() - started

    assert 0.045 <= asyncio.run(main()) < 2


@pytest.mark.parametrize("looks", range(1, 8))
def test_pause_that_ends_between_two_looks_at_the_clock(looks: int) -> None:
    """However time passes while it is asked, nobody is left waiting for a pause that is over."""
    readings = itertools.count()

    async def main() -> int:
        limit = AdaptiveLimit(2, clock=lambda: next(readings) / 1e6)
        await limit.acquire()
        limit.throttled(0.0, (looks - 0.5) / 1e6)
        waiting = [asyncio.create_task(limit.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        limit.release()
        await asyncio.wait_for(waiting[0], 2)
        limit.release()
        await asyncio.wait_for(waiting[1], 2)
        return limit.busy

    assert asyncio.run(main()) == 1


def test_pause_can_be_ended() -> None:
    """When all is over nobody waits for a pause to end."""

    async def main() -> None:
        limit = AdaptiveLimit(4)
        limit.throttled(asyncio.get_running_loop().time(), 600)
        waiting = asyncio.create_task(limit.acquire())
        await asyncio.sleep(0)
        limit.resume()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(main())


def test_no_pause_is_left_over() -> None:
    """A long pause that was ended delays nobody later, in this event loop or the next."""
    limit = AdaptiveLimit(1)

    async def main() -> None:
        limit.throttled(asyncio.get_running_loop().time(), 600)
        waiting = asyncio.create_task(limit.acquire())
        await asyncio.sleep(0)
        limit.resume()
        await asyncio.wait_for(waiting, 5)
        limit.throttled(asyncio.get_running_loop().time(), 0.01)
        limit.release()
        await asyncio.wait_for(limit.acquire(), 5)
        limit.throttled(asyncio.get_running_loop().time(), 0.2)
        asyncio.create_task(limit.acquire())  # noqa: RUF006 (its loop ends before it does)
        await asyncio.sleep(0)

    async def later() -> int:
        await asyncio.wait_for(limit.acquire(), 5)
        return limit.busy

    asyncio.run(main())
    assert asyncio.run(later()) == 1


@pytest.mark.parametrize(("answered", "patience"), [(True, 20.0), (False, 3.0)])
def test_patience(*, answered: bool, patience: float) -> None:
    """A server that worked is waited for longer than one that never did."""
    clock = Clock()
    breaker = Breaker(patience=20, first_patience=3, clock=clock)
    if answered:
        breaker.success()
    first = clock.now
    assert not breaker.failure(fault(), first)
    clock.now += patience - 0.1
    assert not any(breaker.failure(fault(), clock.now) for _ in range(50))
    clock.now += 0.2
    assert breaker.failure(fault(), clock.now)
    assert breaker.blocked() is not None


def test_an_answer_resets() -> None:
    """Failures with an answer between them are not in a row."""
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(100):
        clock.now += 10
        assert not breaker.failure(fault(), clock.now)
        assert not breaker.failure(fault("server_error"), clock.now)
        breaker.success()


@pytest.mark.parametrize(
    "kind", ["unauthorized", "no_credit", "quota", "model_not_found", "not_found", "tls"]
)
def test_final_faults_open_soon(kind: FaultKind) -> None:
    """What holds for every request needs no patience, only not to be a single case."""
    breaker = Breaker(clock=Clock())
    opened = [breaker.failure(fault(kind), 100.0) for _ in range(3)]
    assert opened == [False, False, True]


def test_question_faults_never_open() -> None:
    """A question that does not fit or is moderated says that the server works."""
    breaker = Breaker(clock=Clock())
    assert not any(breaker.failure(fault("context_too_long"), 100.0) for _ in range(100))
    assert not any(breaker.failure(fault("moderation"), 100.0) for _ in range(100))


def test_rate_limits_have_their_own_patience() -> None:
    """A server that limits the rate is waited for far longer."""
    clock = Clock()
    breaker = Breaker(patience=20, rate_patience=120, clock=clock)
    breaker.success()
    for _ in range(11):
        assert not breaker.failure(fault("rate_limited"), clock.now)
        clock.now += 10
    clock.now += 11
    assert breaker.failure(fault("rate_limited"), clock.now)


def test_looks_again_after_a_while() -> None:
    """An open breaker lets one request through per cooldown; its success closes it."""
    clock = Clock()
    breaker = Breaker(cooldown=30, clock=clock)
    for _ in range(3):
        breaker.failure(fault("unauthorized"), clock.now)
    assert breaker.blocked() is not None
    clock.now += 31
    assert breaker.blocked() is None
    assert breaker.blocked() is not None
    assert breaker.failure(fault("unauthorized"), clock.now)
    clock.now += 31
    assert breaker.blocked() is None
    breaker.success()
    assert breaker.blocked() is None
    assert breaker.blocked() is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 4), st.booleans()),
        max_size=25,
    )
)
def test_models_are_inside_one_at_a_time(askers: list[tuple[str, int, int, bool]]) -> None:
    """However they come, stay and are cancelled, no two models are inside, and each has its turn.

    An asker: its model, event loop turns before it comes, turns inside, whether it is cancelled.
    """
    inside: list[str] = []
    served = 0

    async def ask(turns: ModelTurns, model: str, before: int, stay: int) -> None:
        nonlocal served
        for _ in range(before):
            await asyncio.sleep(0)
        await turns.enter(model)
        inside.append(model)
        try:
            assert set(inside) == {model}
            for _ in range(stay):
                await asyncio.sleep(0)
            served += 1
        finally:
            inside.remove(model)
            turns.leave()

    async def run() -> None:
        turns = ModelTurns()
        tasks = [asyncio.create_task(ask(turns, *asker[:3])) for asker in askers]
        for _ in range(3):
            await asyncio.sleep(0)
        for task, (*_, cancelled) in zip(tasks, askers, strict=True):
            if cancelled:
                task.cancel()
        ended = asyncio.gather(*tasks, return_exceptions=True)
        for fault in await asyncio.wait_for(ended, 10):
            assert fault is None or isinstance(fault, asyncio.CancelledError), fault

    asyncio.run(run())
    assert served >= sum(not cancelled for *_, cancelled in askers)


def test_turns_survive_their_event_loop() -> None:
    """Who was inside when an event loop was closed keeps nobody of the next one waiting."""
    turns = ModelTurns()
    asyncio.run(turns.enter("a"))
    asyncio.run(asyncio.wait_for(turns.enter("b"), 10))


def test_what_is_short_goes_before_what_is_in_the_lane() -> None:
    """Of many who are ready at once one passes in a turn of the loop, in order, others between."""
    order: list[str] = []

    async def long(queue: OneAtATime, name: str) -> None:
        await queue.enter()
        order.append(name)

    async def short() -> None:
        for _ in range(4):
            await asyncio.sleep(0)
            order.append("-")

    async def run() -> None:
        queue = OneAtATime()
        tasks = [asyncio.create_task(long(queue, name)) for name in "abcde"]
        other = asyncio.create_task(short())
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, other, return_exceptions=True), 10)
        await asyncio.wait_for(queue.enter(), 10)

    asyncio.run(run())
    assert [name for name in order if name != "-"] == list("acde")
    assert all("-" in order[one:other] for one, other in pairwise(map(order.index, "acd")))
