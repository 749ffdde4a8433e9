"""A server that is out of reach: one task looks for it while every request waits."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Final

from capgate.client.breaker import Breaker
from capgate.client.connection import Connection
from capgate.client.faults import CONNECTION_KINDS
from capgate.common.errors import RequestFault

_LOOK_TIMEOUT: Final = 5.0
_LOOK_EVERY: Final = 1.0

Notify = Callable[[str, str], None]
"""Told of a server that is out of reach or back: takes the topic and a line for people."""


class Outage:
    """Watches for one server that may be out of reach.

    Args:
        connection: The way to the server.
        breaker: Decides when the server is gone.
        first_wait: Seconds before the first look; doubled for each further one, up to 1.
        notify: Told where the server is out of reach and where it is back.
        given_up: Called where the server is gone.
    """

    def __init__(
        self,
        connection: Connection,
        breaker: Breaker,
        *,
        first_wait: float,
        notify: Notify,
        given_up: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._breaker = breaker
        self._first_wait = min(first_wait, _LOOK_EVERY)
        self._notify = notify
        self._given_up = given_up
        self._loop: asyncio.AbstractEventLoop | None = None
        self._back = self._over = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @property
    def lasts(self) -> bool:
        """Whether the server is being looked for."""
        self._bind()
        return not self._back.is_set()

    async def wait(self) -> None:
        """Waits until the server is back, or gone."""
        self._bind()
        await self._back.wait()

    async def pause(self, seconds: float) -> None:
        """Waits some seconds; less where the server is found to be gone meanwhile."""
        self._bind()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    def begin(self, fault: RequestFault) -> None:
        """Starts to look for the server, unless a task does so already.

        Args:
            fault: How the request ended that found the server out of reach.
        """
        self._bind()
        if self._looking is None or self._looking.done():
            self._back.clear()
            self._looking = asyncio.create_task(self._look(fault))

    def give_up(self) -> None:
        """Wakes all requests that wait, so that they end now with the breaker's fault."""
        self._bind()
        self._back.set()
        self._over.set()
        self._over = asyncio.Event()
        self._given_up()

    async def aclose(self) -> None:
        """Ends the task that looks."""
        looking, self._looking = self._looking, None
        self._loop = None
        if looking is not None:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking

    def _bind(self) -> None:
        """Starts anew in another event loop: a task of the former one never ends."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._back, self._over = asyncio.Event(), asyncio.Event()
            self._back.set()
            self._looking = None

    async def _look(self, fault: RequestFault) -> None:
        wait = self._first_wait
        told = False
        back_event = self._back
        try:
            while self._breaker.fault is None:
                await asyncio.sleep(wait * random.uniform(0.75, 1.25))
                started = time.monotonic()
                try:
                    await self._connection.get(
                        f"{self._connection.base}/models",
                        shown_as=self._connection.place.url,
                        limit=_LOOK_TIMEOUT,
                    )
                except RequestFault as found:
                    # Any status, also that of an error, comes from a server that is there.
                    back = found.status is not None
                    if found.kind in CONNECTION_KINDS:
                        fault = found
                    if not back and self._breaker.failure(fault, started):
                        self.give_up()
                else:
                    back = True
                target = self._connection.place.target
                if back and told:
                    self._notify("back", f"{target}: its server answers again")
                if back:
                    return
                if not told:
                    told = True
                    self._tell_lost(target, fault)
                wait = min(wait * 2, _LOOK_EVERY)
        finally:
            back_event.set()

    def _tell_lost(self, target: str, fault: RequestFault) -> None:
        self._notify(
            "lost",
            f"{target}: its server {self._connection.base} stopped answering ({fault.what}); "
            f"waiting up to {self._breaker.patience:g} s for it to come back",
        )
