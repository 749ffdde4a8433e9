"""A look at servers while they are asked: do they still answer as when the run began?

A server that mixes up what it answers at the same time gives a run the answers of another
adapter, and a server may be started anew with other weights in the middle of a run. Then the
answers since the last good look are left out, in this run and in later ones.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Final

from capgate.asking.batches import are_apart
from capgate.asking.ready_target import ReadyTarget
from capgate.common.errors import ContradictionError, RequestFault
from capgate.common.loop_thread import LoopThread
from capgate.serving.adapters.liveness import contradiction, mixes_now
from capgate.serving.ask_signature import signature_change
from capgate.serving.endpoint import Endpoint
from capgate.serving.sharing import asking, asking_in_loop, known_to_mix, note_mixing
from capgate.store.answer_store import Store

_At = tuple[ReadyTarget, Endpoint]
"""A target, and one of its endpoints."""

_EVERY: Final = 30.0
"""Fewest seconds between two looks in the course of a run."""

_TIMES_COST: Final = 50.0
"""How many times as long as a look takes the run goes on before the next one."""


@dataclass(frozen=True)
class Rechecked:
    """What a look at servers has found.

    Attributes:
        started: When it began, Unix seconds.
        found: The targets of each server, and what is wrong there; None if nothing is.
    """

    started: float
    found: Sequence[tuple[Sequence[_At], ContradictionError | RequestFault | None]]


@dataclass(frozen=True)
class Asking:
    """What a look needs of the evaluator whose targets are looked at.

    Attributes:
        stop: Ends what this process asks: answers that come later must not be kept where those
            before them are left out.
        holding: Holds the right to ask targets' servers, alone where they mix models up; returns
            the targets as they may be asked.
        tell_waiting: Tells of a wait for another process; takes a server's URL.
    """

    stop: Callable[[], None]
    holding: Callable[[Sequence[ReadyTarget]], AbstractContextManager[Sequence[ReadyTarget]]]
    tell_waiting: Callable[[str], None]


class Recheck:
    """Looks at the servers that one process asks.

    Args:
        store: Where answers are kept.
        run: The run.
        loop: The thread that asks.
        asking: The evaluator's part.
    """

    def __init__(self, store: Store, run: str, loop: LoopThread, asking: Asking) -> None:
        self._store = store
        self._run = run
        self._loop = loop
        self._asking = asking
        self._good: dict[tuple[bytes, str], float] = {}
        self._took = 0.0
        self._begun: dict[tuple[str, ...], Future[Rechecked]] = {}

    def on_the_way(self, ready_targets: Sequence[ReadyTarget]) -> None:
        """Looks at targets that have been asked for some time, while they are asked on.

        Raises:
            ContradictionError: See `last`.
        """
        ids = _ids(ready_targets)
        begun = self._begun.get(ids)
        if begun is not None:
            if begun.done():
                del self._begun[ids]
                self._take(begun.result())
        elif self._is_due(ready_targets):
            begun = self._look_beside(ready_targets)
            if begun is None:
                self._look_now(ready_targets)
            else:
                self._begun[ids] = begun

    def begin_last(self, ready_targets: Sequence[ReadyTarget]) -> Future[Rechecked] | None:
        """Begins the look of `last`, while other targets are asked.

        Returns:
            What `last` takes; None where there is nothing to look at, or where nothing else may be
            asked meanwhile.
        """
        asked = self._asked(ready_targets)
        return self._look_beside(asked) if asked else None

    def last(
        self, ready_targets: Sequence[ReadyTarget], begun: Future[Rechecked] | None = None
    ) -> None:
        """Looks at targets that were asked since the last look, before they are judged.

        Args:
            ready_targets: The targets.
            begun: What `begin_last` returned.

        Raises:
            ContradictionError: A target does not answer as it did. What it and the others that were
                looked at have answered there since the last look is left out.
        """
        for looking in (self._begun.pop(_ids(ready_targets), None), begun):
            if looking is not None:
                self._take(looking.result())
        if begun is None and (asked := self._asked(ready_targets)):
            self._look_now(asked)

    def _is_due(self, ready_targets: Sequence[ReadyTarget]) -> bool:
        """Whether the last look at targets that are asked is some time ago."""
        now, every = time.time(), max(_EVERY, _TIMES_COST * self._took)
        return any(
            now - self._good.get(_key(one, endpoint), now) >= every
            for one in ready_targets
            for endpoint in one.live
        )

    def _asked(self, ready_targets: Sequence[ReadyTarget]) -> list[ReadyTarget]:
        """Those of targets that were asked since the last look, and that can be looked at."""
        for one in ready_targets:
            for endpoint in one.live:
                if endpoint.observation is not None:
                    self._good.setdefault(_key(one, endpoint), endpoint.observation.at)
        return [one for one in ready_targets if self._asked_since(one)]

    def _asked_since(self, one: ReadyTarget) -> bool:
        looks = [self._good.get(_key(one, endpoint)) for endpoint in one.live]
        known = [at for at in looks if at is not None]
        return bool(known) and bool(self._store.asked_since(one.context, self._run, min(known)))

    def _look_now(self, ready_targets: Sequence[ReadyTarget]) -> None:
        with self._asking.holding(ready_targets) as ready:
            self._take(self._loop.run(lambda: self._look(ready)))

    def _look_beside(self, ready_targets: Sequence[ReadyTarget]) -> Future[Rechecked] | None:
        """Begins to look at targets; None where nothing else may be asked meanwhile."""
        if are_apart(ready_targets) or found_to_mix(ready_targets):
            return None

        async def look() -> Rechecked:
            async with held_in_loop(ready_targets, self._asking.tell_waiting):
                return await self._look(ready_targets)

        return self._loop.start(look)

    async def _look(self, ready_targets: Sequence[ReadyTarget]) -> Rechecked:
        """Looks at targets; the caller holds the right to ask their servers."""
        started = time.time()
        servers: dict[str, list[_At]] = {}
        for one in ready_targets:
            for endpoint in one.live:
                servers.setdefault(endpoint.base_url, []).append((one, endpoint))
        # No server waits for another.
        found = await asyncio.gather(*map(_fault, servers.values()))
        self._took = time.time() - started
        return Rechecked(started, list(zip(servers.values(), found, strict=True)))

    def _take(self, rechecked: Rechecked) -> None:
        for there, fault in rechecked.found:
            if fault is None:
                self._good.update(dict.fromkeys((_key(*at) for at in there), rechecked.started))
        faults = [
            (there, it) for there, it in rechecked.found if isinstance(it, ContradictionError)
        ]
        for there, _ in faults:
            self._leave_out(there)
        for _, fault in faults:
            raise fault

    def _leave_out(self, there: Sequence[_At]) -> None:
        self._asking.stop()
        for one, endpoint in there:
            since = self._good.get(_key(one, endpoint))
            if since is not None:
                self._store.leave_out(one.context, self._run, since, endpoint.place)


def _ids(ready_targets: Sequence[ReadyTarget]) -> tuple[str, ...]:
    return tuple(one.id for one in ready_targets)


def _key(one: ReadyTarget, endpoint: Endpoint) -> tuple[bytes, str]:
    return one.context.id, endpoint.base_url


async def _fault(there: Sequence[_At]) -> ContradictionError | RequestFault | None:
    """What is wrong with the targets of one server; None if nothing is."""
    try:
        for _, endpoint in there:
            how = await _moved(endpoint)
            if how:
                return contradiction(endpoint, how)
        mixed = await _begun_to_mix(there)
    except RequestFault as fault:
        # The server is gone: the answers' own faults tell.
        return fault
    if mixed is None:
        return None
    base, adapter = mixed
    note_mixing(base.base_url, _started(base))
    return contradiction(
        base, f"beside {adapter.target} it answers as that does, which it did not do then"
    )


async def _moved(endpoint: Endpoint) -> str:
    then = None if endpoint.observation is None else endpoint.observation.signature
    return "" if then is None else await signature_change(endpoint, then)


async def _begun_to_mix(there: Sequence[_At]) -> tuple[Endpoint, Endpoint] | None:
    """A base and an adapter that are asked at the same time, and that their server now mixes up."""
    by_target = {one.id: endpoint for one, endpoint in there}
    for one, adapter in there:
        base = by_target.get(one.target.adapter_of or "")
        if base is None or one.endpoint.apart or adapter.apart or adapter.engine != "vllm":
            continue
        own, tuned = base.observation, adapter.observation
        if (
            own is not None
            and tuned is not None
            and own.signature is not None
            and tuned.signature is not None
            and await mixes_now(base, adapter, own.signature, tuned.signature)
        ):
            return base, adapter
    return None


@contextmanager
def held(
    ready_targets: Iterable[ReadyTarget],
    waiting: Callable[[str], None] = lambda url: None,  # noqa: ARG005
) -> Iterator[None]:
    """Holds the right to ask the servers of targets.

    Args:
        ready_targets: Who is asked; those whose server mixes models up have it alone.
        waiting: Called with a server's URL where the wait takes more than a few seconds.
    """
    with ExitStack() as locks:
        for url, alone in _servers(ready_targets):
            lock = asking(url, alone=alone, waiting=functools.partial(waiting, url))
            locks.enter_context(lock)
        yield


@asynccontextmanager
async def held_in_loop(
    ready_targets: Iterable[ReadyTarget], waiting: Callable[[str], None]
) -> AsyncIterator[None]:
    """Holds the right to ask the servers of targets, in an event loop; see `held`."""
    async with AsyncExitStack() as locks:
        for url, alone in _servers(ready_targets):
            lock = asking_in_loop(url, alone=alone, waiting=functools.partial(waiting, url))
            await locks.enter_async_context(lock)
        yield


def _servers(ready_targets: Iterable[ReadyTarget]) -> list[tuple[str, bool]]:
    """The servers of targets, and whether each is held alone.

    They have one order in all processes, so that no two of them wait for each other.
    """
    urls: dict[str, bool] = {}
    for one in ready_targets:
        if one.endpoint.engine != "openrouter":
            places = [at.base_url for at in (*one.endpoint.all, *one.live)]
            for url in (*places, *(at.base_url for at in one.endpoint.absent)):
                urls[url] = urls.get(url, False) or one.endpoint.apart
    return sorted(urls.items())


def found_to_mix(ready_targets: Iterable[ReadyTarget]) -> bool:
    """Whether a run has found meanwhile that a server mixes up models that are asked together."""
    return any(
        endpoint.engine == "vllm"
        and not one.endpoint.apart
        and known_to_mix(endpoint.base_url, _started(endpoint))
        for one in ready_targets
        for endpoint in one.live
    )


def _started(endpoint: Endpoint) -> float | None:
    return None if endpoint.observation is None else endpoint.observation.started
