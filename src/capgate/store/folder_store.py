"""A store that machines share as a folder (`store.segments`), as one of them has it open.

Each machine has a copy of the whole: a SQLite file in a folder of its own, which its processes
share. Opening the store brings the copy up to what the segments hold. What is written goes to the
copy and to this machine's segment, in one transaction; the copy can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import itertools
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import StoreError
from capgate.common.user_cache import local_folder
from capgate.store.schema import SCHEMA_VERSION
from capgate.store.segments import (
    Row,
    append,
    begin_segment,
    cut,
    damaged,
    folder_id,
    read_columns,
    read_rows,
    segments,
)
from capgate.store.store_file import StoreFile
from capgate.store.tables import TABLE, TABLES, Table

_AT_A_TIME: Final = 1_000
"""Rows that one statement puts into the copy."""

_IN_A_STEP: Final = 20_000
"""Rows that one transaction takes in, in less than a second."""


class FolderStore(StoreFile):
    """A connection to a store that is a folder (`capgate.store.database.Database`).

    Args:
        folder: The folder; made a store where it is none.

    Raises:
        StoreError: It can't be opened, is damaged, or has a newer schema.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes_changes = False
        try:
            # A copy of another folder that was at the same place is none of this one's.
            host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
            copy = local_folder("stores") / f"{folder_id(folder)}-{host}" / "answers.sqlite"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._folders_fault("opened", error) from None
        super().__init__(copy, f"{folder}/")
        try:
            # Others of this machine that open the store wait for it here, however long that takes.
            with self.claim("catching-up"):
                self._catch_up()
            self._note_changes()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._folders_fault("read", error) from None
            raise

    def _fault(self, verb: str, error: Exception) -> StoreError:
        """The fault of this machine's copy."""
        return StoreError(
            f"this machine's copy {self.path} of the store of answers {self.where} can't be {verb}",
            said=str(error),
            remedy="delete the copy's folder, which is then made again, or name another place for "
            "such files with TMPDIR; the store itself is unchanged",
        )

    def _folders_fault(self, verb: str, error: Exception) -> StoreError:
        return StoreError(
            f"the store of answers {self._folder}/ can't be {verb}",
            said=str(error),
            remedy="make that folder writable (with room on its disk), or name another store with "
            "--store",
        )

    def _catch_up(self) -> None:
        """Brings the copy up to what the segments hold, in steps: others may write between them."""
        with self.transaction() as db:
            # Within the transaction: no process of this machine is adding to its segment.
            sizes = segments(self._folder)
            db.execute(
                "CREATE TABLE IF NOT EXISTS segments "
                "(name TEXT PRIMARY KEY, done INTEGER NOT NULL, own INTEGER NOT NULL)"
            )
            known = dict(db.execute("SELECT name, done FROM segments").fetchall())
            if any(sizes.get(name, -1) < done for name, done in known.items()):
                self._forget(known.keys() - sizes.keys())
        for name, size in sizes.items():
            before, done = -1, self._done(name)
            while before < done < size:
                with self.transaction():
                    before, done = done, self._take_segment(name, _IN_A_STEP)

    def _forget(self, gone: Iterable[str]) -> None:
        """Empties the copy: a segment was taken away, or put back to an earlier state."""
        for table in TABLES:
            self._db.execute(f"DELETE FROM {table.name}")
        self._db.executemany("DELETE FROM segments WHERE name = ?", [(name,) for name in gone])
        self._db.execute("UPDATE segments SET done = 0")

    def _done(self, name: str) -> int:
        """Bytes of a segment that the copy has."""
        rows = self._db.execute("SELECT done FROM segments WHERE name = ?", (name,)).fetchall()
        return int(rows[0][0]) if rows else 0

    def _take_segment(self, name: str, most: int | None = None) -> int:
        """Takes in rows of a segment that the copy lacks.

        Args:
            name: The segment.
            most: How many; all where None.

        Returns:
            Bytes of the segment that the copy has now.
        """
        file, done = self._folder / name, self._done(name)
        columns = read_columns(file)
        if columns is None:
            return done
        rows = itertools.islice(read_rows(file, columns, done), most)
        while some := list(itertools.islice(rows, _AT_A_TIME)):
            by_table: dict[str, list[list[Any]]] = {}
            for (table, values), _ in some:
                by_table.setdefault(table, []).append(values)
            for table, found in by_table.items():
                statement = TABLE[table].taking(columns.of[table])
                try:
                    self._db.executemany(statement, found)
                except (sqlite3.IntegrityError, sqlite3.ProgrammingError, OverflowError) as error:
                    raise damaged(file, done, error) from None
            done = some[-1][1]
        self._db.execute(
            "INSERT INTO segments VALUES (?, ?, 0) ON CONFLICT (name) DO UPDATE "
            "SET done = excluded.done",
            (name, done),
        )
        return done

    def _note_changes(self) -> None:
        """Has the database note which rows a transaction writes."""
        with self._using:
            self._db.execute("PRAGMA temp_store = MEMORY")
            for table in TABLES:
                keys = ", ".join(table.key)
                new = ", ".join(f"NEW.{key}" for key in table.key)
                self._db.execute(
                    f"CREATE TEMP TABLE {_changed(table)} ({keys}, PRIMARY KEY ({keys}))"
                )
                for event in ("INSERT", "UPDATE"):
                    self._db.execute(
                        f"CREATE TEMP TRIGGER {_changed(table)}_{event} AFTER {event} "
                        f"ON main.{table.name} BEGIN INSERT OR IGNORE INTO {_changed(table)} "
                        f"VALUES ({new}); END"
                    )
            self._notes_changes = True

    def _before_commit(self) -> None:
        """Appends what the transaction has written to this machine's segment."""
        if not (self._notes_changes and any(map(self._has_changed, TABLES))):
            return
        try:
            name, at = self._own_segment()
            done = append(self._folder / name, self._changes(), at)
        except OSError as error:
            raise self._folders_fault("written", error) from None
        self._db.execute("UPDATE segments SET done = ? WHERE name = ?", (done, name))

    def _changes(self) -> Iterator[Row]:
        for table in TABLES:
            changed = _changed(table)
            if not self._has_changed(table):
                continue
            columns = ", ".join(table.columns)
            # The order of a cross join is kept: the rows that changed are few.
            query = (
                f"SELECT {columns} FROM {changed} CROSS JOIN {table.name} "
                f"USING ({', '.join(table.key)})"
            )
            for row in self._db.execute(query):
                yield table.name, list(row)
            self._db.execute(f"DELETE FROM {changed}")

    def _has_changed(self, table: Table) -> bool:
        return self._db.execute(f"SELECT 1 FROM {_changed(table)} LIMIT 1").fetchone() is not None

    def _own_segment(self) -> tuple[str, int]:
        """This machine's segment and its size."""
        db = self._db
        found = db.execute("SELECT name, done FROM segments WHERE own = ?", (SCHEMA_VERSION,))
        for name, done in found.fetchall():
            try:
                size = (self._folder / name).stat().st_size
            except FileNotFoundError:
                continue
            if size < done:
                continue
            if size > done:
                # A process of this machine was killed after it wrote and before it committed.
                done = self._take_segment(name)
                if size > done:
                    cut(self._folder / name, done)
            return name, done
        name = begin_segment(self._folder)
        size = (self._folder / name).stat().st_size
        db.execute("UPDATE segments SET own = 0")
        db.execute("INSERT INTO segments VALUES (?, ?, ?)", (name, size, SCHEMA_VERSION))
        return name, size


def _changed(table: Table) -> str:
    return f"changed_{table.name}"
