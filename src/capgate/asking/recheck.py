"""A look at servers while they are asked: do they still answer as when the run began?

A server that mixes up what it answers at the same time gives a run the answers of another
adapter, and a server may be started anew with other weights in the middle of a run. Then the
answers since the last good look are left out, in this run and in later ones.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Final

from capgate.asking.ready_target import ReadyTarget
from capgate.common.errors import ContradictionError, RequestFault
from capgate.common.event_loop import in_own_loop
from capgate.serving.adapters.liveness import contradiction, mixes_now
from capgate.serving.ask_signature import signature_change
from capgate.serving.endpoint import Endpoint
from capgate.serving.sharing import asking, asking_in_loop, known_to_mix, note_mixing
from capgate.store.answer_store import Store

_At = tuple[ReadyTarget, Endpoint]
"""A target, and one of its endpoints."""

_EVERY: Final = 10.0
"""Fewest seconds between two looks in the course of a run."""

_TIMES_COST: Final = 20.0
"""How many times as long as a look takes the run goes on before the next one."""


class Recheck:
    """Looks at the servers that one process asks.

    Args:
        store: Where answers are kept.
        stop: Ends what this process asks: answers that come later must not be kept where those
            before them are left out.
    """

    def __init__(self, store: Store, stop: Callable[[], None]) -> None:
        self._store = store
        self._stop = stop
        self._good: dict[tuple[bytes, str], float] = {}
        self._took = 0.0

    def begin(self, ready_targets: Iterable[ReadyTarget]) -> None:
        """Notes that targets are about to be asked."""
        for one in ready_targets:
            for endpoint in one.live:
                if endpoint.observation is not None:
                    self._good.setdefault(_key(one, endpoint), endpoint.observation.at)

    def due(self, ready_targets: Sequence[ReadyTarget]) -> bool:
        """Whether the last look at targets that are asked is some time ago."""
        now, every = time.time(), max(_EVERY, _TIMES_COST * self._took)
        return any(
            now - self._good.get(_key(one, endpoint), now) >= every
            for one in ready_targets
            for endpoint in one.live
        )

    def asked(self, ready_targets: Sequence[ReadyTarget], run: str) -> list[ReadyTarget]:
        """Those of targets that a run has asked, and that can be looked at."""
        self.begin(ready_targets)
        return [
            one
            for one in ready_targets
            if any(_key(one, endpoint) in self._good for endpoint in one.live)
            and self._store.asked_since(one.context, run)
        ]

    def check(self, ready_targets: Sequence[ReadyTarget], run: str) -> None:
        """Looks at targets; the caller holds the right to ask their servers.

        Raises:
            ContradictionError: One does not answer as it did. What it and the others of these
                answered there since the last look is left out.
        """
        started = time.time()
        servers: dict[str, list[_At]] = {}
        for one in ready_targets:
            for endpoint in one.live:
                servers.setdefault(endpoint.base_url, []).append((one, endpoint))

        # A server is asked one prompt at a time, and none waits for another.
        with ThreadPoolExecutor(max(1, len(servers))) as pool:
            looks = list(zip(servers.values(), pool.map(_look, servers.values()), strict=True))
        for there, found in looks:
            if found is None:
                self._good.update(dict.fromkeys((_key(*at) for at in there), started))
        self._took = time.time() - started
        faults = [(there, it) for there, it in looks if isinstance(it, ContradictionError)]
        for there, _ in faults:
            self._leave_out(there, run)
        for _, fault in faults:
            raise fault

    def _leave_out(self, there: Sequence[_At], run: str) -> None:
        self._stop()
        for one, endpoint in there:
            since = self._good.get(_key(one, endpoint))
            if since is not None:
                self._store.leave_out(one.context, run, since, endpoint.place)


def _key(one: ReadyTarget, endpoint: Endpoint) -> tuple[bytes, str]:
    return one.context.id, endpoint.base_url


def _look(there: Sequence[_At]) -> ContradictionError | RequestFault | None:
    """What is wrong with the targets of one server; None if nothing is."""
    try:
        for _, endpoint in there:
            how = _moved(endpoint)
            if how:
                return contradiction(endpoint, how)
        mixed = _begun_to_mix(there)
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


def _moved(endpoint: Endpoint) -> str:
    then = None if endpoint.observation is None else endpoint.observation.signature
    if then is None:
        return ""
    return in_own_loop(lambda: signature_change(endpoint, then))


def _begun_to_mix(there: Sequence[_At]) -> tuple[Endpoint, Endpoint] | None:
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
            and mixes_now(base, adapter, own.signature, tuned.signature)
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
