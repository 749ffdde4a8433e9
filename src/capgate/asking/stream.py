"""One stream of requests for a process: what a caller waits for first, then what is foreseen.

A thread of its own holds the event loop, so that the servers have work while the main thread
judges one shard and has not asked for the next one yet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from capgate.asking.ask_batches import BatchAsker
from capgate.asking.batches import PendingBatch, are_apart
from capgate.asking.claims import take_free_claims, wait_for_claims
from capgate.asking.ready_target import ReadyTarget
from capgate.asking.recheck import found_to_mix, held_in_loop
from capgate.common.errors import StoreError
from capgate.common.files import FileError
from capgate.common.loop_thread import LoopThread

_DELIVERED_EVERY: Final = 0.2
"""Seconds after which the waiting thread calls what was posted."""

_TO_STOP: Final = 2.0
"""Seconds that requests in flight have to end after they are cancelled."""

_ROUNDS: Final = 64
"""Questions for each connection that a server which mixes models up is asked of one model before
it is asked of the next one: at each change it runs empty."""


@dataclass(frozen=True)
class Owner:
    """What a stream needs of the evaluator that it belongs to.

    Attributes:
        asker: Returns what puts batches to targets.
        put_apart: Makes a target one that is asked while no other model of its server is.
        tell_waiting: Tells of a wait for another process; takes what is waited for.
    """

    asker: Callable[[], BatchAsker]
    put_apart: Callable[[ReadyTarget], ReadyTarget]
    tell_waiting: Callable[[str], None]


class Stream:
    """Asks batches one after the other, so that servers never run empty between two of them.

    Args:
        loop: The thread that asks.
        owner: The evaluator.
    """

    def __init__(self, loop: LoopThread, owner: Owner) -> None:
        self._loop = loop
        self._owner = owner
        self._posted: deque[Callable[[], object]] = deque()
        self._disk_fault: StoreError | FileError | None = None
        # Only the loop's thread uses what follows.
        self._wanted: deque[PendingBatch] = deque()
        self._foreseen: Iterator[PendingBatch] = iter(())
        self._asking: dict[asyncio.Task[None], Sequence[PendingBatch]] = {}
        self._pump: asyncio.Task[None] | None = None

    def post(self, call: Callable[[], object]) -> None:
        """Has the thread that waits in `ask` call a function; from any thread."""
        self._posted.append(call)

    def ask(
        self,
        wanted: PendingBatch,
        foreseen: Iterator[PendingBatch],
        tell: Callable[[], None],
    ) -> None:
        """Has a batch asked, and waits until each of its questions has ended.

        Args:
            wanted: The batch; it may be one that was foreseen before.
            foreseen: What is likely to be asked next, in order. Servers that have room work on
                it, until another call foresees something else.
            tell: Called again and again while this waits.

        Raises:
            StoreError: An answer can't be kept, now or before.
            FileError: A log can't be written, now or before.
            CapgateError: A server has ended, or the task is at fault.
        """
        if self._disk_fault is not None:
            raise self._disk_fault
        # What is imported for it is imported here: CPython 3.11 fails where two threads parse.
        self._owner.asker()
        asked = self._loop.start(lambda: self._ask_wanted(wanted, foreseen))
        try:
            self._wait(asked, tell)
        except (StoreError, FileError) as fault:
            self._disk_fault = fault
            raise
        finally:
            self._deliver()

    def foresee(self, foreseen: Iterator[PendingBatch]) -> None:
        """Has servers that have room begin with batches that nobody waits for yet.

        Args:
            foreseen: What is likely to be asked next, in order; it replaces what was foreseen.
        """
        if self._disk_fault is None:
            self._owner.asker()
            self._loop.start(lambda: self._ask_foreseen(foreseen))

    def stop(self) -> None:
        """Cancels what is asked and what is foreseen, and waits for its end."""
        if self._loop.runs:
            with contextlib.suppress(TimeoutError):
                self._loop.start(self._cancel_all).result(_TO_STOP)
        self._deliver()

    def _wait(self, asked: Future[None], tell: Callable[[], None]) -> None:
        while True:
            try:
                return asked.result(_DELIVERED_EVERY)
            except TimeoutError:
                if asked.done():
                    raise
                self._deliver()
                tell()
            except BaseException:
                # An interrupt, or the end of the asking itself.
                if not asked.done():
                    asked.cancel()
                    self.stop()
                raise

    def _deliver(self) -> None:
        while self._posted:
            self._posted.popleft()()

    # In the loop's thread.

    async def _ask_wanted(self, wanted: PendingBatch, foreseen: Iterator[PendingBatch]) -> None:
        self._foreseen = foreseen
        wanted.wanted = True
        if any(wanted in batches for batches in self._asking.values()):
            await wanted.ended.wait()
        if wanted.lacking:
            wanted.fault = None
            wanted.ended.clear()
            self._wanted.append(wanted)
            self._start()
            await wanted.ended.wait()
        else:
            self._start()
        if wanted.fault is not None:
            raise wanted.fault

    async def _ask_foreseen(self, foreseen: Iterator[PendingBatch]) -> None:
        self._foreseen = foreseen
        self._start()

    def _start(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._ask_in_order())

    async def _ask_in_order(self) -> None:
        """Starts to ask one batch after the other, each as soon as there is room for it."""
        loop = asyncio.get_running_loop()
        try:
            while (following := self._next()) is not None:
                batch, claims = following
                batches, room = [batch], asyncio.Event()
                asking = loop.create_task(self._ask(batches, claims, room))
                self._asking[asking] = batches
                asking.add_done_callback(self._asking.pop)
                await room.wait()
        except Exception as fault:
            # Nobody else would tell those who wait.
            while self._wanted:
                left = self._wanted.popleft()
                left.fault = fault
                left.ended.set()

    def _next(self) -> tuple[PendingBatch, ExitStack | None] | None:
        """The batch to ask next, with the claims on it where it is foreseen."""
        if self._wanted:
            return self._wanted.popleft(), None
        asker = self._owner.asker()
        for batch in self._foreseen:
            # What a server could not answer is asked again only where a caller waits for it.
            gone = asker.is_out_of_reach(batch)
            claims = ExitStack()
            # A batch that another process has claimed is left to it.
            if not gone and self._claim(batch, claims):
                return batch, claims
        return None

    def _claim(self, batch: PendingBatch, claims: ExitStack) -> bool:
        """Claims a foreseen batch; False where another has it or there is nothing to ask."""
        if batch.ended.is_set() or any(batch in batches for batches in self._asking.values()):
            return False
        asker = self._owner.asker()
        try:
            asker.find(batch)
            # What the store has of one target, such as a base, needs no claim: other batches may
            # be asking that target the same questions at this moment.
            lacking = batch.targets_lacking
            store = asker.answers.store
            return bool(lacking) and take_free_claims(claims, store, batch.batch, lacking)
        except StoreError:
            return False  # it is told where a caller waits

    async def _ask(
        self, batches: list[PendingBatch], claimed: ExitStack | None, room: asyncio.Event
    ) -> None:
        """Asks the first of some batches; others are added to them where that saves time.

        Args:
            batches: The first one.
            claimed: The claims on it; None where they are to be waited for.
            room: Set when there is room for another batch.
        """
        asker, first = self._owner.asker(), batches[0]
        try:
            with claimed or ExitStack() as claims:
                # Whether a caller waits may have changed since the claims were taken.
                if claimed is None:
                    await wait_for_claims(
                        claims,
                        asker.answers.store,
                        first.batch,
                        first.targets_lacking,
                        begun=room.set,
                        waiting=lambda: self._owner.tell_waiting(first.batch.name),
                    )
                asker.find(first)
                targets = first.targets_lacking
                for one in targets:
                    asker.check_server(one)
                async with self._holding(first, targets) as ready:
                    if are_apart(ready):
                        self._add_foreseen(batches, claims)
                        await asker.ask(batches, ready, lambda: None)
                    elif ready:
                        await asker.ask(batches, ready, room.set)
        except BaseException as fault:
            self._foreseen = iter(())
            for batch in batches:
                batch.fault = fault
            if not isinstance(fault, Exception):
                raise
        finally:
            room.set()
            for batch in batches:
                batch.ended.set()

    def _add_foreseen(self, batches: list[PendingBatch], claims: ExitStack) -> None:
        """Adds batches, so that a server that is asked for one model at a time changes rarely."""
        first = batches[0]
        enough = _ROUNDS * max(one.client.client.limits.connections for one in first.targets)
        asked = len(first.batch.questions)
        while asked < enough and (following := next(self._foreseen, None)) is not None:
            if following.targets == first.targets and self._claim(following, claims):
                batches.append(following)
                asked += len(following.batch.questions)

    @asynccontextmanager
    async def _holding(
        self, batch: PendingBatch, targets: Sequence[ReadyTarget]
    ) -> AsyncIterator[Sequence[ReadyTarget]]:
        """Holds the right to ask servers; alone where they mix models up.

        Nothing is given out for a batch that nobody waits for, where a server was just found to
        mix models up.
        """
        ready = targets
        while True:
            if found_to_mix(ready):
                if not batch.wanted:
                    yield []
                    return
                await self._cancel(
                    [task for task, batches in self._asking.items() if batch not in batches]
                )
                ready = [self._owner.put_apart(one) for one in ready]
            async with held_in_loop(ready, self._owner.tell_waiting):
                # Another run may have found out while this one waited.
                if not found_to_mix(ready):
                    yield ready
                    return

    async def _cancel_all(self) -> None:
        self._foreseen = iter(())
        self._wanted.clear()
        pump = [] if self._pump is None or self._pump.done() else [self._pump]
        await self._cancel([*pump, *self._asking])

    async def _cancel(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
