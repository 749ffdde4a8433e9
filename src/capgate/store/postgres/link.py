"""A connection to PostgreSQL that is made again where it was lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from capgate.common.errors import StoreError
from capgate.common.postgres_url import PostgresUrl
from capgate.store.postgres.faults import fault_of_database, is_passing
from capgate.store.postgres.patience import patience

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_T = TypeVar("_T")

SCHEMA: Final = "capgate"
"""The schema that holds a store's tables, in the sense of PostgreSQL: a folder of tables."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
"""Seconds between two times."""

_DEFAULTS: Final = {
    "application_name": "capgate",
    "connect_timeout": "10",
    # So that a machine that has vanished is noticed within half a minute.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Options of the connection, where the URL does not say otherwise."""


_SERVER_SIDE: Final = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; "
    "SET idle_in_transaction_session_timeout = '60s'"
)
"""So that the server frees what a vanished machine has locked."""


class Link:
    """A connection that is made again where it was lost. Threads may share it.

    Args:
        url: The database.

    Raises:
        ConfigError: The environment names no number of seconds (`patience`).
        StoreError: psycopg is missing, or the database can't be reached or opened. This is not
            tried again: the user waits for it.
    """

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self._patience = patience()
        self._using = threading.RLock()
        self._given_up = False
        self._connection: Connection | None = _connected(url)

    def do(self, work: Callable[[Connection], _T], *, patient: bool = True) -> _T:
        """Does something with the connection, from its beginning again where that was lost.

        Args:
            work: May be called several times; what it did the last time may count or not.
            patient: Whether to wait for a database that can't be reached. It is waited for once:
                nothing that follows waits again until it has been reached.

        Raises:
            psycopg.Error: The database refuses it.
            StoreError: The connection was lost and can't be made again.
        """
        import psycopg

        given_up_at, pause = time.monotonic() + self._patience * patient, _FIRST_PAUSE
        first = True
        with self._using:
            while True:
                connection = self._connection
                try:
                    if connection is None:
                        connection = self._connection = _connected(self._url)
                        self._given_up = False
                    return work(connection)
                except (psycopg.Error, StoreError) as error:
                    if connection is not None and not _is_lost(connection, error):
                        raise
                    self.drop()
                    if connection is not None and first:
                        # It may only have been cut.
                        first = False
                        continue
                    if self._given_up or time.monotonic() + pause > given_up_at:
                        self._given_up = patient or self._given_up
                        raise self._lost(error) from None
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _lost(self, error: Exception) -> StoreError:
        fault = (
            error
            if isinstance(error, StoreError)
            else fault_of_database(self._url, "reached", error)
        )
        return StoreError(
            f"the connection to the store of answers {self._url} was lost and can't be made again",
            said=fault.said,
            remedy=f"{fault.remedy}; then start the run again: what is stored is not asked again",
        )

    def drop(self) -> None:
        """Gives the connection up; the next use makes another one."""
        with self._using:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(Exception):
                    connection.close()


def _is_lost(connection: Connection, error: Exception) -> bool:
    """Whether a fault may pass with another connection."""
    import psycopg

    if connection.closed or connection.broken:
        return True
    return isinstance(error, psycopg.Error) and is_passing(error)


def _connected(url: PostgresUrl) -> Connection:
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise StoreError(
            f"the store of answers {url} needs the package psycopg",
            said=str(error),
            remedy="pip install 'capgate[postgres]'",
        ) from None
    from capgate.store.postgres.texts import keep_every_character

    try:
        options: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(url.with_password)}
        options["client_encoding"] = "UTF8"
        connection = psycopg.connect(autocommit=True, **options)
        try:
            encoding = connection.info.parameter_status("server_encoding")
            connection.execute(f"SET search_path TO {SCHEMA}; {_SERVER_SIDE}".encode())
            keep_every_character(connection)
        except BaseException:
            connection.close()
            raise
    except psycopg.Error as error:
        raise fault_of_database(url, "opened", error) from None
    if encoding != "UTF8":
        connection.close()
        raise StoreError(
            f"the database of the store {url} can't hold every character: its encoding is "
            f"{encoding}",
            remedy="make one with: createdb --encoding UTF8 --template template0 NAME",
        )
    return connection


@lru_cache(maxsize=256)
def with_marks(statement: str) -> bytes:
    """A statement with the marks for values that psycopg knows."""
    return statement.replace("%", "%%").replace("?", "%s").encode()
