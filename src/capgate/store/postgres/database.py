"""The tables of a store in PostgreSQL (`capgate.store.database.Database`)."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from capgate.common.errors import StoreError
from capgate.common.postgres_url import PostgresUrl
from capgate.store import store_file
from capgate.store.database import Outcome
from capgate.store.postgres.faults import fault_of_database, told
from capgate.store.postgres.holding import LIVE, PAUSE, TAKE_CLAIM, Holder
from capgate.store.postgres.link import SCHEMA, Link, with_marks
from capgate.store.postgres.schema import MAKING, bring_up_database
from capgate.store.schema import bring_up
from capgate.store.tables import TABLES

if TYPE_CHECKING:
    from capgate.store.postgres.link import Connection

_T = TypeVar("_T")

_CHUNK: Final = 5_000
"""Rows that are read at a time where a store is copied."""


class PostgresDatabase:
    """A connection to a store's database, with another one for what this process holds.

    A connection that is lost is made again, for a minute (`patience`). What was being done then is
    done again from its beginning: rows have ids of their own, so that nothing is written twice.

    Args:
        url: The database.

    Raises:
        StoreError: It can't be opened, is not a store, or has a newer schema.
    """

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url
        self.where = str(url)
        self._using = threading.RLock()
        self._within: _Transaction | None = None
        self._link = Link(url)
        self._holder = Holder(url)
        try:
            with told(self._url, "opened"):
                self._link.do(lambda connection: bring_up_database(connection, url))
        except StoreError:
            self._link.drop()
            raise

    @property
    def claim_pause(self) -> float:
        """See `Database.claim_pause`."""
        return PAUSE

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See `Database.reading`."""
        try:
            with told(self._url, "read"):
                yield
        except (ValueError, TypeError, RecursionError) as error:
            raise fault_of_database(self._url, "read", error) from None

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """See `Database.rows`."""

        def find(connection: Connection) -> list[Any]:
            return connection.execute(with_marks(query), values).fetchall()

        with self._using, self.reading():
            return self._within.read(find) if self._within else self._link.do(find)

    @contextmanager
    def transaction(self, *, alone: bool = False) -> Iterator[_Transaction]:
        """See `Database.transaction`."""
        with self._using:
            if self._within is not None:
                yield self._within
                return
            self._within = transaction = _Transaction(self._link, alone=alone)
            try:
                with told(self._url, "written"):
                    yield transaction
                    transaction.commit()
            except BaseException:
                transaction.roll_back()
                raise
            finally:
                self._within = None

    def take_in(self, file: Path) -> None:
        """See `Database.take_in`."""
        with closing(sqlite3.connect(file)) as source, self.transaction(alone=True) as db:
            for table in TABLES:
                columns = ", ".join(table.columns)

                def load(
                    connection: Connection, name: str = table.name, columns: str = columns
                ) -> None:
                    connection.execute(
                        f"CREATE TEMPORARY TABLE {name} (LIKE {SCHEMA}.{name}) "
                        "ON COMMIT DROP".encode()
                    )
                    into = f"COPY pg_temp.{name} ({columns}) FROM STDIN".encode()
                    with connection.cursor() as cursor, cursor.copy(into) as copy:
                        for row in source.execute(f"SELECT {columns} FROM {name}"):
                            copy.write_row(row)

                db.do(load)
                db.execute(table.put("pg_temp", SCHEMA))

    def copy_into(self, file: Path) -> None:
        """Copies the whole store into a new file of SQLite, as it is at one moment.

        Raises:
            StoreError: The store can't be read.
        """

        def copy(connection: Connection) -> None:
            with (
                closing(sqlite3.connect(file, isolation_level=None)) as db,
                connection.transaction(),
            ):
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                db.execute("BEGIN")
                bring_up(db, file)
                for table in TABLES:
                    columns = ", ".join(table.columns)
                    with connection.cursor("copied") as cursor:
                        cursor.itersize = _CHUNK
                        cursor.execute(f"SELECT {columns} FROM {table.name}".encode())
                        db.executemany(table.new(), cursor)
                db.execute("COMMIT")

        with self._using, self.reading():
            self._link.do(copy)

    @contextmanager
    def claim(
        self,
        name: str,
        *,
        once: bool = False,  # noqa: ARG002 (nothing is ever left of a claim)
        waiting: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """See `Database.claim`."""
        told_at = time.monotonic() + store_file.TOLD_AFTER_SECONDS
        with ExitStack() as claims:
            while not self.claim_free(claims, name):
                if time.monotonic() >= told_at:
                    told_at = float("inf")
                    waiting()
                time.sleep(PAUSE)
            yield

    def claim_free(self, claims: ExitStack, name: str) -> bool:
        """See `Database.claim_free`."""
        holder = self._holder.take("claims", TAKE_CLAIM, {"name": name})
        if holder is None:
            return False
        claims.callback(self._holder.give_back, holder)
        return True

    def is_claimed(self, name: str) -> bool:
        """See `Database.is_claimed`."""
        live = LIVE.format("claims")
        return bool(
            self._holder.ask(
                f"SELECT 1 FROM claims WHERE name = %(name)s AND {live}", {"name": name}
            )
        )

    def close(self) -> None:
        """See `Database.close`."""
        self._holder.close()
        self._link.drop()


class _Transaction:
    """The statements of a transaction; all again where its connection is lost.

    Also where only the word of its end was lost: each statement does nothing the second time.
    """

    def __init__(self, link: Link, *, alone: bool) -> None:
        self._link = link
        self._alone = alone
        self._done: list[Callable[[Connection], object]] = []
        self._begun_on: Connection | None = None

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Outcome:
        """See `Writer.execute`."""
        return self.do(lambda connection: connection.execute(with_marks(statement), values))

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        """See `Writer.executemany`."""
        kept = list(rows)

        def write(connection: Connection) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(with_marks(statement), kept)

        self.do(write)

    def do(self, work: Callable[[Connection], _T]) -> _T:
        """Does something that is part of the transaction."""
        result = self.read(work)
        self._done.append(work)
        return result

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """Does something that changes nothing."""
        return self._link.do(lambda connection: work(self._begun(connection)))

    def commit(self) -> None:
        """Ends it: what was done counts."""
        self._link.do(lambda connection: self._begun(connection).execute("COMMIT"))

    def roll_back(self) -> None:
        """Ends it: nothing of it counts."""
        if self._begun_on is not None:
            try:
                self._begun_on.execute("ROLLBACK")
            except Exception:
                self._link.drop()

    def _begun(self, connection: Connection) -> Connection:
        if self._begun_on is not connection:
            connection.execute("BEGIN")
            if self._alone:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (MAKING,))
            for work in self._done:
                work(connection)
            self._begun_on = connection
        return connection
