"""The tables of a store of answers, and how stores of earlier versions are brought up to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from capgate.common.errors import StoreError
from capgate.common.thoughts import holds_thought
from capgate.store.ids import context_id, migrated_id, sighting_id

SCHEMA_VERSION: Final = 8

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


_GLOBAL: Final = """
CREATE TABLE contexts_7 (
    id BLOB PRIMARY KEY NOT NULL,
    fingerprint TEXT NOT NULL,
    prompt TEXT NOT NULL,
    facts TEXT NOT NULL,
    made REAL NOT NULL
) WITHOUT ROWID;
INSERT INTO contexts_7 SELECT context_id(fingerprint, prompt), fingerprint, prompt, facts,
    COALESCE((SELECT MIN(created) FROM answers WHERE context = contexts.id), 0) FROM contexts;
CREATE TABLE ids_7 (old INTEGER PRIMARY KEY, new BLOB NOT NULL);
INSERT INTO ids_7 SELECT id, migrated_id(id, created, MAX(created) OVER (ORDER BY id),
    run, question, subject, look, state, choice, text, seconds) FROM answers;
CREATE TABLE answers_7 (
    id BLOB PRIMARY KEY NOT NULL,
    context BLOB NOT NULL,
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
    finish_reason TEXT NOT NULL,
    cut_off INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    run TEXT NOT NULL,
    created REAL NOT NULL,
    look TEXT NOT NULL,
    set_aside INTEGER NOT NULL DEFAULT 0
);
INSERT INTO answers_7 SELECT ids_7.new, context_id(fingerprint, prompt), question, subject, state,
    choice, text, prompt_tokens, completion_tokens, seconds, margin, served_by, cost,
    finish_reason, cut_off, reasoning_tokens, run, created, look,
    CASE WHEN usable THEN 0 WHEN answers.id IN (SELECT answer FROM uses) THEN 1 ELSE 2 END
    FROM answers JOIN ids_7 ON ids_7.old = answers.id
    JOIN contexts ON contexts.id = answers.context ORDER BY answers.id;
CREATE TABLE uses_7 (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    look TEXT NOT NULL,
    benchmark TEXT NOT NULL,
    answer BLOB NOT NULL,
    subject TEXT,
    PRIMARY KEY (run, target, look, benchmark, answer)
) WITHOUT ROWID;
INSERT INTO uses_7 SELECT run, target, look, benchmark, ids_7.new, subject
    FROM uses JOIN ids_7 ON ids_7.old = uses.answer;
CREATE TABLE sightings_7 (
    id BLOB PRIMARY KEY NOT NULL,
    server TEXT NOT NULL,
    weights TEXT NOT NULL,
    run TEXT NOT NULL,
    at REAL NOT NULL,
    facts TEXT NOT NULL
);
INSERT OR IGNORE INTO sightings_7 SELECT sighting_id(server, weights, run, at), server, weights,
    run, at, facts FROM sightings;
DROP TABLE ids_7;
DROP TABLE uses;
DROP TABLE answers;
DROP TABLE contexts;
DROP TABLE sightings;
ALTER TABLE contexts_7 RENAME TO contexts;
ALTER TABLE answers_7 RENAME TO answers;
ALTER TABLE uses_7 RENAME TO uses;
ALTER TABLE sightings_7 RENAME TO sightings;
CREATE INDEX answers_by_question ON answers (context, question);
CREATE INDEX sightings_by_server ON sightings (server, at);
CREATE TABLE taken_over (
    context BLOB NOT NULL,
    taker BLOB NOT NULL,
    PRIMARY KEY (context, taker)
) WITHOUT ROWID;
ALTER TABLE questions ADD COLUMN kept REAL NOT NULL DEFAULT 0;
ALTER TABLE shards ADD COLUMN at REAL NOT NULL DEFAULT 0;
ALTER TABLE tries ADD COLUMN judged REAL NOT NULL DEFAULT 0;
"""


def _ids_are_global(db: sqlite3.Connection) -> None:
    """Version 7: rows are known by ids that no two machines give twice (`store.ids`).

    So stores can be put together. What may change later has a time, so that the newest of two is
    known. Answers are never changed: that those of one context count for another one as well is a
    row of `taken_over`. `set_aside` is 1 for an answer that is not found again, and 2 for one that
    counts nowhere, its own run included.
    """
    for name, function in (
        ("context_id", context_id),
        ("migrated_id", migrated_id),
        ("sighting_id", sighting_id),
    ):
        db.create_function(name, -1, function, deterministic=True)
    _execute_all(db, _GLOBAL)


def _answers_say_which_endpoint(db: sqlite3.Connection) -> None:
    """Version 8: which of a target's endpoints gave an answer; `""` where it had one."""
    db.execute("ALTER TABLE answers ADD COLUMN endpoint TEXT NOT NULL DEFAULT ''")


def _execute_all(db: sqlite3.Connection, statements: str) -> None:
    """Executes statements within the caller's transaction, which `executescript` would end."""
    for statement in statements.split(";\n"):
        db.execute(statement)


_MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    _answers_say_how_they_ended,
    _servers_are_known_again,
    _tries_are_counted,
    _shards_say_what_they_are,
    _runs_have_benchmarks,
    _ids_are_global,
    _answers_say_which_endpoint,
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
        _execute_all(db, _FIRST)
    for migrate in _MIGRATIONS[max(found, 1) - 1 :]:
        migrate(db)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def take_out_alerts(db: sqlite3.Connection) -> None:
    """Takes out the URLs of alerts, which are secrets; earlier versions kept them."""
    db.execute(
        "UPDATE runs SET settings = json_remove(settings, '$.alerts') "
        "WHERE json_valid(settings) AND json_extract(settings, '$.alerts') IS NOT NULL"
    )


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
