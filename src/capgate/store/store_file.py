"""The file behind the store of answers: how it is opened and claimed, and what can be wrong."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from capgate.common.errors import StoreError
from capgate.common.private_files import mode_beside, own_file, own_folder
from capgate.store.schema import bring_up, schema_of, take_out_alerts
from capgate.store.tables import TABLES

_BUSY_SECONDS: Final = 60.0
_JOURNAL_PAGES: Final = 8_000
"""Pages of 4 KiB that the store's journal may have, about 2,000 answers."""

_CLAIM_PAUSE: Final = 0.05

TOLD_AFTER_SECONDS: Final = 5.0
"""Seconds of waiting for a claim after which the user is told of it."""


def fault_of_store(path: Path, verb: str, error: Exception) -> StoreError:
    """The error that tells a user of a fault.

    Args:
        path: The store.
        verb: What failed, such as `read`.
        error: What SQLite or the operating system said, or why a value can't be understood.
    """
    other = "name another file with --store"
    if _is_damage(error):
        remedy = f"it is damaged, or no store: move it away, or {other}; nothing was deleted"
    else:
        remedy = f"make its folder writable (with room on its disk), or {other}"
    return StoreError(
        f"the store of answers {path} can't be {verb}", said=str(error), remedy=remedy
    )


def _is_damage(error: Exception) -> bool:
    """Whether the content is at fault, and not the disk or permissions."""
    if isinstance(error, sqlite3.Error):
        # Faults of the module `sqlite3` itself, such as a text it can't decode, have no code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, ValueError | TypeError | RecursionError)


class StoreFile:
    """A connection to a store's file (`capgate.store.database.Database`).

    Args:
        path: The file; made with its folder where it is missing.
        where: Where the store is, as people may see it; the file where `""`.

    Attributes:
        path: The file.
        where: Where the store is, as people may see it.

    Raises:
        StoreError: It can't be opened, is not a store, or has a newer schema.
    """

    def __init__(self, path: Path, where: str = "") -> None:
        self.path = path
        self.where = where or str(path)
        # The thread that asks keeps answers while the main thread reads.
        self._using = threading.RLock()
        try:
            own_folder(path.parent)
            own_file(path)
            self._db = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (sqlite3.Error, OSError) as error:
            raise self._fault("opened", error) from None
        try:
            self._db.execute("BEGIN")
            schema_of(self._db, self.path)
            self._db.execute("COMMIT")
            if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                # Where two processes switch at once, SQLite does not wait for its time-out.
                with self.claim("opening"):
                    self._db.execute("PRAGMA journal_mode = WAL")
            # With WAL and NORMAL no answer is lost where the process is killed at any moment.
            # Only a crash of the machine could lose the last ones.
            self._db.execute("PRAGMA synchronous = NORMAL")
            # SQLite waits for the disk when it brings the journal's pages into the store, and a
            # process that asks waits with it. So it is done less often than by default (1,000).
            self._db.execute(f"PRAGMA wal_autocheckpoint = {_JOURNAL_PAGES}")
            # Deleted content is overwritten, since it may have held a secret.
            self._db.execute("PRAGMA secure_delete = ON")
            self._migrate()
        except (sqlite3.Error, OSError) as error:
            self._db.close()
            raise self._fault("opened", error) from None
        except StoreError:
            self._db.close()
            raise

    @property
    def claim_pause(self) -> float:
        """See `capgate.store.database.Database`."""
        return _CLAIM_PAUSE

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Has what is wrong with stored values told as a fault of the store.

        Raises:
            StoreError: A value can't be understood.
        """
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            raise self._fault("read", error) from None

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows that a query finds.

        Raises:
            StoreError: The store can't be read.
        """
        with self._using, self.reading():
            return self._db.execute(query, values).fetchall()

    def _migrate(self) -> None:
        with self.transaction():
            bring_up(self._db, self.path)
            take_out_alerts(self._db)

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    @contextmanager
    def transaction(self, *, alone: bool = False) -> Iterator[sqlite3.Connection]:  # noqa: ARG002
        """A transaction: everything within is written, or nothing.

        Within another one of this thread it is a part of that. Each is alone: SQLite lets one
        connection write at a time.
        """
        with self._using:
            if self._db.in_transaction:
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._before_commit()
                self._db.execute("COMMIT")
            except BaseException as error:
                # Some faults, such as a full disk, have already rolled back by themselves.
                if self._db.in_transaction:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._fault("written", error) from None
                raise

    def _fault(self, verb: str, error: Exception) -> StoreError:
        return fault_of_store(self.path, verb, error)

    def _before_commit(self) -> None:
        """Called with a transaction's last statement done; an error takes the whole back."""

    def take_in(self, file: Path) -> None:
        """Takes in the rows of another store, all of them or none.

        Args:
            file: A sound store's file of this version.

        Raises:
            sqlite3.Error: It can't be read.
        """
        with self._using:
            self._db.execute("ATTACH ? AS other", (str(file),))
            try:
                with self.transaction() as db:
                    for table in TABLES:
                        db.execute(table.put("other", "main"))
                    take_out_alerts(db)
            finally:
                self._db.execute("DETACH other")

    @contextmanager
    def claim(
        self, name: str, *, once: bool = False, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Holds the right to compute `name`; waits while another process holds it.

        The operating system frees a claim when its holder dies, however it dies.

        Args:
            name: What is claimed.
            once: It is not computed again after this, so that nothing of the claim is kept.
            waiting: Called where the wait takes more than a few seconds.
        """
        file = self._claim_file(name)
        try:
            lock = self._lock(file)
            try:
                lock.acquire(timeout=TOLD_AFTER_SECONDS)
            except Timeout:
                waiting()
                lock.acquire()
        except OSError as error:
            raise self._fault("claimed", error) from None
        try:
            yield
            if once:
                # A process that waits with the old file open finds what was computed as well.
                with suppress(OSError):
                    file.unlink()
        finally:
            lock.release()

    def claim_free(self, claims: ExitStack, name: str) -> bool:
        """Adds a claim to others that are held, unless another holds it now.

        Returns:
            Whether it is held.
        """
        try:
            claims.enter_context(self._lock(self._claim_file(name), timeout=0))
        except Timeout:
            return False
        except OSError as error:
            raise self._fault("claimed", error) from None
        return True

    def is_claimed(self, name: str) -> bool:
        """See `capgate.store.database.Database`."""
        file = self._claim_file(name)
        if not file.exists():
            return False
        try:
            with self._lock(file, timeout=0):
                return False
        except Timeout:
            return True
        except OSError as error:
            raise self._fault("claimed", error) from None

    def _lock(self, file: Path, *, timeout: float = -1) -> FileLock:
        mode = mode_beside(self.path)
        # A user who may read the store may enter its folder of claims, too.
        file.parent.mkdir(mode=mode | (mode & 0o444) >> 2, exist_ok=True)
        # One of the process's threads may give back what another one has taken.
        return FileLock(file, timeout=timeout, mode=mode, thread_local=False)

    def _claim_file(self, name: str) -> Path:
        return self.path.with_name(f".{self.path.name}.claims") / f"{name}.lock"
