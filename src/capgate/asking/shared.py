"""What a process asks all its benchmarks with: one thread, and one client for each target.

Each endpoint of a target has one limit of connections, though several benchmarks are asked of it.
What is asked ahead for one benchmark ends when another one is asked, unless they take turns.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Final

from capgate.asking.endpoint_clients import EndpointClients, Readmit
from capgate.client.client import Client
from capgate.client.pacing import ModelTurns
from capgate.common.loop_thread import LoopThread

_TO_CLOSE: Final = 2.0
"""Seconds in which connections are closed in order; later they are dropped."""


class SharedAsking:
    """The thread and the clients of one process.

    Args:
        readmit: Proves an endpoint again that stopped answering, where a target has several.
        in_turns: Whether benchmarks are asked in turns, as in a sweep, so that what is asked ahead
            for each of them is wanted soon.

    Attributes:
        loop: The thread, which starts with what is asked first.
        readmit: The same.
    """

    def __init__(self, readmit: Readmit | None = None, *, in_turns: bool = False) -> None:
        self.readmit: Readmit = readmit or _stays_away
        self._in_turns = in_turns
        self.loop = LoopThread("capgate-asking")
        self._clients: dict[Hashable, Client | EndpointClients] = {}
        self._turns: defaultdict[str, ModelTurns] = defaultdict(_apart_where_found)
        self._asks: object = None
        self._stop: Callable[[], None] = lambda: None

    def begin(self, asks: object, stop: Callable[[], None]) -> None:
        """Notes that a caller waits for something; what another one asks ahead stops by default.

        Args:
            asks: What asks for the caller, the same object for the same benchmark.
            stop: Ends what it asks ahead.
        """
        if self._asks is not asks and not self._in_turns:
            self._stop()
        self._asks, self._stop = asks, stop

    def client(
        self, key: Hashable, make: Callable[[], Client | EndpointClients]
    ) -> Client | EndpointClients:
        """The client of a target; the first call makes it.

        Args:
            key: All that makes it another target's.
            make: Makes it.
        """
        if key not in self._clients:
            self._clients[key] = make()
        return self._clients[key]

    def turns(self, url: str) -> ModelTurns:
        """Whose turn it is at a server that may mix models up."""
        return self._turns[url]

    def close(self) -> None:
        """Closes connections and ends the thread."""
        if not self.loop.runs:
            return
        with contextlib.suppress(TimeoutError):
            self.loop.start(self._close_clients).result(_TO_CLOSE)
        self.loop.close()

    async def _close_clients(self) -> None:
        for client in self._clients.values():
            await client.aclose()


def _stays_away(target: str, url: str, since: float) -> None:  # noqa: ARG001
    return None


def _apart_where_found() -> ModelTurns:
    return ModelTurns(apart=False)
