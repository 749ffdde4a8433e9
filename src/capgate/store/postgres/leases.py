"""Leases of adapters as rows of a database (`capgate.serving.adapters.shared_leases`)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from capgate.common.postgres_url import PostgresUrl
from capgate.serving.adapters.shared_leases import Rest, address
from capgate.store.postgres.holding import LIVE, PAUSE, TAKE_CLAIM, Holder

_USED: Final = (
    "EXISTS (SELECT 1 FROM leases WHERE leases.server = {0} AND leases.adapter = {1} "
    f"AND {LIVE.format('leases')})"
)


class PostgresLeases:
    """The leases in a database; connects when the first one is taken.

    Args:
        url: The database.
    """

    def __init__(self, url: PostgresUrl) -> None:
        self._holder = Holder(url)

    def enter(self, server: str, adapter: str) -> PostgresLease:
        """See `SharedLeases.enter`."""
        lease = PostgresLease(self._holder, address(server), adapter)
        lease.enter()
        return lease

    def left_over(self, server: str) -> list[str]:
        """See `SharedLeases.left_over`."""
        used = _USED.format("loaded_adapters.server", "loaded_adapters.adapter")
        rows = self._holder.ask(
            f"SELECT adapter FROM loaded_adapters WHERE server = %(server)s AND NOT {used} "
            "ORDER BY adapter",
            {"server": address(server)},
        )
        return [str(row[0]) for row in rows]

    @contextmanager
    def ending_left_over(self, server: str, adapter: str) -> Iterator[bool]:
        """See `SharedLeases.ending_left_over`."""
        lease = PostgresLease(self._holder, address(server), adapter)
        if not lease.take_turn():
            yield False
            return
        try:
            free = not lease.rest().used
            yield free
            if free:
                lease.disclaim()
        finally:
            lease.settle()

    def close(self) -> None:
        """See `SharedLeases.close`."""
        self._holder.close()


class PostgresLease:
    """A run's right to use an adapter (`SharedLease`).

    Args:
        holder: Holds what this process has.
        server: The server's address.
        adapter: The name under which it serves the adapter.
    """

    def __init__(self, holder: Holder, server: str, adapter: str) -> None:
        self._holder = holder
        self._which = {"server": server, "adapter": adapter}
        name = hashlib.sha256(f"{server}\0{adapter}".encode()).hexdigest()[:24]
        self._turn_name = f"adapter-{name}"
        self._turn: str | None = None
        self._lease: str | None = None

    def enter(self) -> None:
        """Waits for the turn, and takes the lease."""
        self._wait_for_turn()
        self._lease = self._holder.take(
            "leases",
            "INSERT INTO leases (server, adapter, holder, seconds, renewed) VALUES "
            "(%(server)s, %(adapter)s, %(holder)s, %(seconds)s, clock_timestamp()) "
            "ON CONFLICT (server, adapter, holder) DO UPDATE SET renewed = excluded.renewed "
            "RETURNING 1",
            self._which,
        )

    def take_turn(self) -> bool:
        """Takes the turn to load and unload, unless another run has it; returns whether it did."""
        self._turn = self._holder.take("claims", TAKE_CLAIM, {"name": self._turn_name})
        return self._turn is not None

    def claim(self) -> None:
        """See `SharedLease.claim`."""
        self._holder.ask(
            "INSERT INTO loaded_adapters (server, adapter) VALUES (%(server)s, %(adapter)s) "
            "ON CONFLICT DO NOTHING RETURNING 1",
            self._which,
        )

    def disclaim(self) -> None:
        """See `SharedLease.disclaim`."""
        self._holder.ask(
            "DELETE FROM loaded_adapters WHERE server = %(server)s AND adapter = %(adapter)s "
            "RETURNING 1",
            self._which,
        )

    def settle(self) -> None:
        """See `SharedLease.settle`."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self._holder.give_back(turn)

    def leave(self) -> Rest:
        """See `SharedLease.leave`."""
        if self._turn is None:
            self._wait_for_turn()
        lease, self._lease = self._lease, None
        if lease is not None:
            self._holder.give_back(lease)
        return self.rest()

    def rest(self) -> Rest:
        """Who else uses the adapter."""
        ((used, loaded),) = self._holder.ask(
            f"SELECT {_USED.format('%(server)s', '%(adapter)s')}, EXISTS (SELECT 1 FROM "
            "loaded_adapters WHERE server = %(server)s AND adapter = %(adapter)s)",
            self._which,
        )
        return Rest(bool(used), bool(loaded))

    def _wait_for_turn(self) -> None:
        while not self.take_turn():
            time.sleep(PAUSE)
