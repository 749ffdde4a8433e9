"""What a process holds among all machines, as rows that it renews while it lives.

A row that its holder has not renewed in time has no holder any more: its process or machine is
gone. The database's clock decides, and nothing expires while the database is down: after its
start everybody has as long to renew as before.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from capgate.common.postgres_url import PostgresUrl
from capgate.store.postgres.faults import told
from capgate.store.postgres.link import Link
from capgate.store.postgres.patience import patience
from capgate.store.postgres.schema import bring_up_database

if TYPE_CHECKING:
    from capgate.store.postgres.link import Connection

_BEATS: Final = 4
"""How often a row is renewed in the time after which it expires."""

LIVE: Final = (
    "GREATEST({0}.renewed, pg_postmaster_start_time()) >= "
    "clock_timestamp() - {0}.seconds * INTERVAL '1 second'"
)
"""Whether the row of a table has a holder."""

TAKE_CLAIM: Final = (
    "INSERT INTO claims (name, holder, seconds, renewed) "
    "VALUES (%(name)s, %(holder)s, %(seconds)s, clock_timestamp()) "
    "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, seconds = excluded.seconds, "
    "renewed = excluded.renewed "
    f"WHERE claims.holder = excluded.holder OR NOT ({LIVE.format('claims')}) RETURNING 1"
)
"""Takes the claim `name`, unless another holder has it; again where its answer was lost."""

PAUSE: Final = 0.25
"""Seconds after which to look again for what another process holds."""

_TABLES: Final = ("claims", "leases")


class Holder:
    """Takes rows, renews them while this process lives, and gives them back.

    Args:
        url: The database. It has a connection of its own, which no long query delays.
    """

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self.seconds = patience()
        self._link: Link | None = None
        self._held: dict[str, str] = {}
        self._changing = threading.Lock()
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def ask(
        self, statement: str, values: dict[str, Any], *, patient: bool = True
    ) -> list[tuple[Any, ...]]:
        """The rows that a statement returns; it may be executed twice.

        Args:
            statement: The statement.
            values: What stands for the names in it.
            patient: Whether to wait for a database that can't be reached.

        Raises:
            StoreError: The database refuses it, or can't be reached.
        """
        with told(self._url, "claimed"):
            return self._linked().do(
                lambda connection: connection.execute(statement.encode(), values).fetchall(),
                patient=patient,
            )

    def take(self, table: str, statement: str, values: dict[str, Any]) -> str | None:
        """Takes a row, where the statement returns it.

        Args:
            table: The row's table.
            statement: Writes the row for `%(holder)s` and returns it, unless another has it. It
                may be executed twice.
            values: What else it needs.

        Returns:
            The name under which it is held; None where it isn't.
        """
        holder = secrets.token_hex(12)
        # Before the request: it may be executed though its answer is lost.
        with self._changing:
            self._held[holder] = table
        taken = False
        try:
            taken = bool(self.ask(statement, {**values, "holder": holder, "seconds": self.seconds}))
        finally:
            if not taken:
                with self._changing:
                    del self._held[holder]
        self._beat()
        return holder if taken else None

    def give_back(self, holder: str) -> None:
        """Gives a row back. Where the database can't be reached it expires."""
        with self._changing:
            table = self._held.pop(holder)
        with suppress(Exception):
            self.ask(
                f"DELETE FROM {table} WHERE holder = %(holder)s RETURNING 1",
                {"holder": holder},
                patient=False,
            )

    def close(self) -> None:
        """Gives everything back."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join()
        for holder in list(self._held):
            self.give_back(holder)
        if self._link is not None:
            self._link.drop()

    def _linked(self) -> Link:
        with self._changing:
            if self._link is None:
                link = Link(self._url)
                try:
                    link.do(self._begin)
                except BaseException:
                    link.drop()
                    raise
                self._link = link
            return self._link

    def _begin(self, connection: Connection) -> None:
        bring_up_database(connection, self._url)
        for table in _TABLES:
            # What processes left that were killed; nobody asks for most of it again.
            connection.execute(
                f"DELETE FROM {table} WHERE renewed < clock_timestamp() - INTERVAL '1 day' "
                f"AND NOT ({LIVE.format(table)})".encode()
            )

    def _beat(self) -> None:
        with self._changing:
            if self._beating is None:
                self._beating = threading.Thread(
                    target=self._renew, name="capgate claims", daemon=True
                )
                self._beating.start()

    def _renew(self) -> None:
        while not self._ended.wait(self.seconds / _BEATS):
            with self._changing:
                held = dict(self._held)
            for table in sorted({*held.values()}):
                mine = [holder for holder, one in held.items() if one == table]
                # The thread that asks tells of a database that can't be reached.
                with suppress(Exception):
                    self.ask(
                        f"UPDATE {table} SET renewed = clock_timestamp() "
                        "WHERE holder = ANY(%(mine)s) RETURNING 1",
                        {"mine": mine},
                        patient=False,
                    )
