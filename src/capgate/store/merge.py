"""Puts stores together: each answer, run, verdict and question of theirs is there once.

Two stores can't contradict each other, since no two machines give one id to two rows, and rows that
change have a time (`capgate.store.tables`). So a store may be put in again, as a whole or grown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from capgate.common.errors import StoreError
from capgate.common.postgres_url import PostgresUrl
from capgate.common.scratch import Scratch
from capgate.config.store_place import StorePlace
from capgate.store.answer_store import Store
from capgate.store.folder_store import FolderStore
from capgate.store.open_store import is_there, open_store
from capgate.store.schema import SCHEMA_VERSION, bring_up, schema_of, take_out_alerts


@dataclass(frozen=True, slots=True)
class Merged:
    """What stores were put together to.

    Attributes:
        answers: Answers in the store now.
        new_answers: Of them, those that it did not have before.
        runs: Runs in the store now.
        new_runs: Of them, those that it did not have before.
    """

    answers: int
    new_answers: int
    runs: int
    new_runs: int


def merge(sources: Sequence[StorePlace], into: StorePlace) -> Merged:
    """Puts stores into one. They stay as they are.

    All are looked at before the first one is put in; each is put in as a whole or not at all.

    Args:
        sources: Where they are.
        into: Where the store is; made where it is missing. It may be one of the sources.

    Raises:
        StoreError: One is missing, damaged, newer than this version or no store.
    """
    with ExitStack() as copies:
        files = [copies.enter_context(_readable(source)) for source in sources]
        with open_store(into) as store:
            before = _counts(store)
            for source, file in zip(sources, files, strict=True):
                if file is not None and not _is_one(source, into):
                    _put(store, source, file)
            after = _counts(store)
    return Merged(after[0], after[0] - before[0], after[1], after[1] - before[1])


@contextmanager
def _readable(place: StorePlace) -> Iterator[Path | None]:
    """A sound store of this version: the source, or a copy of it that was brought up to it.

    None stands for a store to which nothing was written yet.
    """
    if not is_there(place):
        raise StoreError(
            f"there is no store of answers {place}",
            remedy="name what a run wrote (--store); nothing was changed",
        )
    with ExitStack() as stack:
        if place.kind == "folder" and place.path is not None:
            folder = stack.enter_context(closing(FolderStore(place.path)))
            yield folder.path
            return
        source = place.path
        if source is None:
            source = stack.enter_context(Scratch()).path / "copy.sqlite"
            assert place.url is not None
            _copy(place.url, source)
        with _told(source), closing(sqlite3.connect(source)) as db:
            version = schema_of(db, source)
            faults = [row[0] for row in db.execute("PRAGMA quick_check(1)")]
            if faults != ["ok"]:
                raise sqlite3.DatabaseError("; ".join(faults))
            file = source if version else None
            if 0 < version < SCHEMA_VERSION:
                file = stack.enter_context(Scratch()).path / "copy.sqlite"
                _copy_brought_up(db, file)
        yield file


def _copy(url: PostgresUrl, file: Path) -> None:
    """Copies a database into a new file."""
    from capgate.store.postgres.database import PostgresDatabase

    with closing(PostgresDatabase(url)) as database:
        database.copy_into(file)


def _copy_brought_up(db: sqlite3.Connection, file: Path) -> None:
    """Copies a store of an earlier version and brings the copy up to this one."""
    with closing(sqlite3.connect(file, isolation_level=None)) as copy:
        db.backup(copy)
        copy.execute("BEGIN")
        bring_up(copy, file)
        take_out_alerts(copy)
        copy.execute("COMMIT")


def _is_one(one: StorePlace, other: StorePlace) -> bool:
    """Whether two stores that are there are the same one."""
    if one.path is None or other.path is None:
        return one == other
    return one.path.samefile(other.path)


@contextmanager
def _told(source: StorePlace | Path) -> Iterator[None]:
    """Has what SQLite says told as a fault of a store that is put in.

    Raises:
        StoreError: It is damaged, or no store.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"the store of answers {source} can't be read",
            said=str(error),
            remedy="it is damaged, or no store: leave it out, or put a copy of it in its place; "
            "nothing of it was changed",
        ) from None


def _put(store: Store, source: StorePlace, file: Path) -> None:
    with _told(source):
        store.take_in(file)


def _counts(store: Store) -> tuple[int, int]:
    ((answers, runs),) = store.rows(
        "SELECT (SELECT COUNT(*) FROM answers), (SELECT COUNT(*) FROM runs)"
    )
    return answers, runs
