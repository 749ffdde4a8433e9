"""The file behind the store of answers: its tables, and what can be wrong with it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from filelock import FileLock, Timeout

from capgate.common.errors import StoreError
from capgate.common.private_files import mode_beside, own_file, own_folder
from capgate.common.redact import Redactor
from capgate.common.text import one_line
from capgate.common.thoughts import holds_thought

_BUSY_SECONDS: Final = 60.0
_PATIENCE: Final = 5.0
"""Seconds of waiting for a claim after which the user is told of it."""

SCHEMA_VERSION: Final = 5

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


def _servers_are_known_again(db: sqlite3.Connection) -> None:
    """Version 3: what was seen of a server's weights, by which they are known again."""
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
                f"UPDATE {table} SET look = ?1, run = substr(run, 1, length(run) - length(?2)) "
                "WHERE substr(run, -length(?2)) = ?2 AND run NOT IN (SELECT id FROM runs)",
                (look, ending),
            )
    constrained = "SELECT answer FROM uses WHERE substr(target, -6) = '#again'"
    db.execute(f"UPDATE answers SET look = 'constrained' WHERE id IN ({constrained})")
    db.execute(
        "UPDATE uses SET look = 'constrained', target = substr(target, 1, length(target) - 6) "
        "WHERE substr(target, -6) = '#again'"
    )


_MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    _answers_say_how_they_ended,
    _servers_are_known_again,
    _tries_are_counted,
    _shards_say_what_they_are,
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


def facts_of(text: str) -> dict[str, Any]:
    """The facts that a column of JSON holds.

    Raises:
        ValueError: It holds none, or something else.
        RecursionError: It is nested without end.
    """
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError(f"{one_line(text, limit=60)} should be keys and values")
    return facts


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
    return isinstance(error, ValueError | TypeError | RecursionError)


class StoreFile:
    """A connection to a store's file; closed by leaving its context.

    Args:
        path: The file; made with its folder where it is missing.
        redactor: What must not be kept; who only reads needs none.

    Raises:
        StoreError: It can't be opened, is not a store, or has a newer schema.
    """

    def __init__(self, path: Path, redactor: Redactor | None = None) -> None:
        self.path = path
        # Reports, baselines and logs take from here: nothing secret gets in.
        self._redactor = redactor or Redactor.of_environment()
        try:
            own_folder(path.parent)
            own_file(path)
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise fault_of_store(self.path, "opened", error) from None
        try:
            self._db.execute("BEGIN")
            schema_of(self._db, self.path)
            self._db.execute("COMMIT")
            if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                # Two processes that switch at once would find it locked, whatever the time-out.
                with self.claim("opening"):
                    self._db.execute("PRAGMA journal_mode = WAL")
            # WAL with NORMAL survives the death of the process at any moment; only a crash
            # of the machine itself could lose the last answers.
            self._db.execute("PRAGMA synchronous = NORMAL")
            # What is taken out is overwritten as well.
            self._db.execute("PRAGMA secure_delete = ON")
            self._migrate()
        except (sqlite3.Error, OSError) as error:
            self._db.close()
            raise fault_of_store(self.path, "opened", error) from None
        except StoreError:
            self._db.close()
            raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            raise fault_of_store(self.path, "read", error) from None

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._reading():
            return self._db.execute(query, values).fetchall()

    def _migrate(self) -> None:
        with self.transaction():
            bring_up(self._db, self.path)
            # Earlier versions kept the URLs of alerts, which are secrets.
            self._db.execute(
                "UPDATE runs SET settings = json_remove(settings, '$.alerts') "
                "WHERE json_valid(settings) AND json_extract(settings, '$.alerts') IS NOT NULL"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Writes all or nothing of what is done within."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            # Some faults, such as a full disk, have already rolled back by themselves.
            if self._db.in_transaction:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise fault_of_store(self.path, "written", error) from None
            raise

    def _json(self, facts: Mapping[str, Any]) -> str:
        return json.dumps(self._redactor.data(facts), sort_keys=True)

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
            mode = mode_beside(self.path)
            lock = FileLock(file, mode=mode)
            # Who may read the store may enter, too.
            file.parent.mkdir(mode=mode | (mode & 0o444) >> 2, exist_ok=True)
            try:
                lock.acquire(timeout=_PATIENCE)
            except Timeout:
                waiting()
                lock.acquire()
        except OSError as error:
            raise fault_of_store(self.path, "claimed", error) from None
        try:
            yield
            if once:
                # Whoever waits for it finds what was computed, whichever file it has locked.
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
            lock = FileLock(self._claim_file(name), timeout=0, mode=mode_beside(self.path))
            claims.enter_context(lock)
        except Timeout:
            return False
        except OSError as error:
            raise fault_of_store(self.path, "claimed", error) from None
        return True

    def _claim_file(self, name: str) -> Path:
        return self.path.with_name(f".{self.path.name}.claims") / f"{name}.lock"
