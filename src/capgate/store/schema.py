"""The tables of a store of answers, and how stores of earlier versions are brought up to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from capgate.common.errors import StoreError
from capgate.common.thoughts import holds_thought

SCHEMA_VERSION: Final = 6

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
    limit had cut off. Such answers stay for the reports of their runs, and later runs ask again.
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


def _servers_are_known_again(db: sqlite3.Connection) -> None:
    """Version 3: what was observed of a server's weights, so that they are recognised later."""
    db.execute(
        "CREATE TABLE sightings (id INTEGER PRIMARY KEY, server TEXT NOT NULL, "
        "weights TEXT NOT NULL, run TEXT NOT NULL, at REAL NOT NULL, facts TEXT NOT NULL)"
    )
    db.execute("CREATE INDEX sightings_by_server ON sightings (server, id)")


def _tries_are_counted(db: sqlite3.Connection) -> None:
    """Version 4: which try on a candidate a run was (`gate.tries`), and what it said."""
    db.execute(
        "CREATE TABLE tries (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, "
        "variant TEXT NOT NULL, candidate TEXT NOT NULL, reference TEXT NOT NULL, "
        "questions TEXT NOT NULL, number INTEGER NOT NULL, share REAL NOT NULL, "
        "follows TEXT NOT NULL, started REAL NOT NULL, verdict TEXT, "
        "PRIMARY KEY (run, target, kind)) WITHOUT ROWID"
    )


def _shards_say_what_they_are(db: sqlite3.Connection) -> None:
    """Version 5: what a shard is and the look an answer is from (`store.shard`), as columns.

    Earlier versions told by names: the shards `""`, `preflight`, `suite`, `quick`, `#reask` and
    subjects; answers of the runs `RUN-confirm` and `RUN-again`, and of the targets `NAME#again`.
    """
    db.execute(
        "CREATE TABLE shards_5 (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, "
        "benchmark TEXT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, "
        "PRIMARY KEY (run, target, kind, benchmark, name)) WITHOUT ROWID"
    )
    db.execute(
        "INSERT INTO shards_5 SELECT run, target, CASE WHEN shard = '' THEN 'entry' "
        "WHEN shard = '#reask' THEN 'reask' WHEN shard IN ('preflight', 'suite', 'quick') "
        "THEN shard ELSE 'group' END, 'mmlu', "
        "CASE WHEN shard IN ('', '#reask', 'preflight', 'suite', 'quick') THEN '' ELSE shard END, "
        "facts FROM shards"
    )
    db.execute("DROP TABLE shards")
    db.execute("ALTER TABLE shards_5 RENAME TO shards")
    db.execute("ALTER TABLE answers ADD COLUMN look TEXT NOT NULL DEFAULT 'first'")
    db.execute(
        "CREATE TABLE uses_5 (run TEXT NOT NULL, target TEXT NOT NULL, look TEXT NOT NULL, "
        "answer INTEGER NOT NULL REFERENCES answers (id), "
        "PRIMARY KEY (run, target, look, answer)) WITHOUT ROWID"
    )
    db.execute("INSERT INTO uses_5 SELECT run, target, 'first', answer FROM uses")
    db.execute("DROP TABLE uses")
    db.execute("ALTER TABLE uses_5 RENAME TO uses")
    for ending, look in (("-confirm", "confirm"), ("-again", "repeat")):
        for table in ("answers", "uses"):
            db.execute(
                f"UPDATE {table} SET look = :look, "
                "run = substr(run, 1, length(run) - length(:end)) "
                "WHERE substr(run, -length(:end)) = :end AND run NOT IN (SELECT id FROM runs)",
                {"look": look, "end": ending},
            )
    constrained = "SELECT answer FROM uses WHERE substr(target, -6) = '#again'"
    db.execute(f"UPDATE answers SET look = 'constrained' WHERE id IN ({constrained})")
    db.execute(
        "UPDATE uses SET look = 'constrained', target = substr(target, 1, length(target) - 6) "
        "WHERE substr(target, -6) = '#again'"
    )


def _runs_have_benchmarks(db: sqlite3.Connection) -> None:
    """Version 6: of which benchmark a use, a question and a try are; earlier ones knew MMLU only.

    A use says its group where that is another than the answer's: the same question may be asked
    in two benchmarks, or its group be renamed. A question's key is JSON, since it may be a list
    of texts.
    """
    db.execute(
        "CREATE TABLE uses_6 (run TEXT NOT NULL, target TEXT NOT NULL, look TEXT NOT NULL, "
        "benchmark TEXT NOT NULL, answer INTEGER NOT NULL REFERENCES answers (id), subject TEXT, "
        "PRIMARY KEY (run, target, look, benchmark, answer)) WITHOUT ROWID"
    )
    db.execute("INSERT INTO uses_6 SELECT run, target, look, 'mmlu', answer, NULL FROM uses")
    db.execute(
        "CREATE TABLE questions_6 (benchmark TEXT NOT NULL, hash TEXT NOT NULL, "
        "subject TEXT NOT NULL, sample_id TEXT NOT NULL, text TEXT NOT NULL, "
        "choices TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (benchmark, hash)) WITHOUT ROWID"
    )
    db.execute(
        "INSERT INTO questions_6 SELECT 'mmlu', hash, subject, sample_id, text, choices, "
        "json_quote(key) FROM questions"
    )
    db.execute(
        "CREATE TABLE tries_6 (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, "
        "benchmark TEXT NOT NULL, variant TEXT NOT NULL, candidate TEXT NOT NULL, "
        "reference TEXT NOT NULL, questions TEXT NOT NULL, number INTEGER NOT NULL, "
        "share REAL NOT NULL, follows TEXT NOT NULL, started REAL NOT NULL, verdict TEXT, "
        "PRIMARY KEY (run, target, kind, benchmark)) WITHOUT ROWID"
    )
    db.execute(
        "INSERT INTO tries_6 SELECT run, target, kind, 'mmlu', variant, candidate, reference, "
        "questions, number, share, follows, started, verdict FROM tries"
    )
    for table in ("uses", "questions", "tries"):
        db.execute(f"DROP TABLE {table}")
        db.execute(f"ALTER TABLE {table}_6 RENAME TO {table}")


_MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    _answers_say_how_they_ended,
    _servers_are_known_again,
    _tries_are_counted,
    _shards_say_what_they_are,
    _runs_have_benchmarks,
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
