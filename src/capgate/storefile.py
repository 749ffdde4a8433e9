"""The file behind the store of answers: its tables, and what can be wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from capgate.common.thoughts import holds_thought
from capgate.errors import StoreError

SCHEMA_VERSION: Final = 2

_FIRST: Final = """
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    prompt TEXT NOT NULL,
    facts TEXT NOT NULL,
    UNIQUE (fingerprint, prompt)
);
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    started REAL NOT NULL,
    settings TEXT NOT NULL
);
CREATE TABLE questions (
    hash TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    text TEXT NOT NULL,
    choices TEXT NOT NULL,
    key TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts (id),
    question TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    choice TEXT NOT NULL,
    text TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    margin REAL,
    served_by TEXT NOT NULL,
    cost REAL,
    run TEXT NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX answers_by_question ON answers (context, question, id);
CREATE TABLE uses (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    answer INTEGER NOT NULL REFERENCES answers (id),
    PRIMARY KEY (run, target, answer)
) WITHOUT ROWID;
CREATE TABLE shards (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    shard TEXT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (run, target, shard)
) WITHOUT ROWID;
"""


def _answers_say_how_they_ended(db: sqlite3.Connection) -> None:
    """Version 2: why the model stopped, and whether an answer may be found again.

    Version 1 read thoughts as if they were answers, and did not know which answers the token
    limit had cut off. Those stay for the reports of their runs and are asked anew.
    """
    for column in (
        "finish_reason TEXT NOT NULL DEFAULT ''",
        "cut_off INTEGER NOT NULL DEFAULT 0",
        "reasoning_tokens INTEGER NOT NULL DEFAULT 0",
        "usable INTEGER NOT NULL DEFAULT 1",
    ):
        db.execute(f"ALTER TABLE answers ADD COLUMN {column}")
    db.create_function("holds_thought", 1, holds_thought, deterministic=True)
    db.execute(
        "UPDATE answers SET cut_off = 1 WHERE state != 'error' AND completion_tokens >= (SELECT "
        "CASE WHEN json_valid(facts) THEN json_extract(facts, '$.generation.max_tokens') END "
        "FROM contexts WHERE contexts.id = answers.context)"
    )
    db.execute(
        "UPDATE answers SET usable = 0 WHERE state != 'error' AND (cut_off OR holds_thought(text))"
    )


_MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    _answers_say_how_they_ended,
)
"""What brings a store from one version to the next, from version 1 on."""


def bring_up(db: sqlite3.Connection, path: Path) -> None:
    """Makes the tables of a new store, and brings those of an older one up to this version.

    The caller holds a transaction that may write.

    Raises:
        StoreError: The schema is newer, or another program's.
    """
    found = schema_of(db, path)
    if found == SCHEMA_VERSION:
        return
    if found == 0:
        for statement in _FIRST.split(";\n"):
            db.execute(statement)
    for migrate in _MIGRATIONS[max(found, 1) - 1 :]:
        migrate(db)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def schema_of(db: sqlite3.Connection, path: Path) -> int:
    """The file's schema, 0 where it is new; reads only.

    Raises:
        StoreError: The schema is newer, or another program's.
    """
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > SCHEMA_VERSION:
        raise StoreError(
            f"the store of answers {path} has schema {found}; this capgate knows {SCHEMA_VERSION}",
            remedy="upgrade capgate or name another file with --store; nothing was changed",
        )
    if found == 0 and db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise StoreError(
            f"{path} is another program's database, not a store of answers",
            remedy="name another file with --store; nothing was changed",
        )
    return found


def fault_of_store(path: Path, verb: str, error: Exception) -> StoreError:
    """What a person is told of a fault.

    Args:
        path: The store.
        verb: What can't be done, such as `read`.
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
    """Whether the fault is one of the content, and not of the disk or of permissions."""
    if isinstance(error, sqlite3.Error):
        # Faults of the module `sqlite3` itself, such as of decoding a text, have no code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, ValueError)
