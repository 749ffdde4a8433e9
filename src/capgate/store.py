"""The store of answers: one SQLite file, shared by all workers and by runs to come.

| table | one row for |
|---|---|
| `contexts` | whom was asked how: target fingerprint, prompt hash, and what they stand for |
| `answers` | an answer that was had, or a fault; never changed, never deleted |
| `questions` | a question's text, choices and key |
| `runs` | a run and its settings |
| `uses` | that a run's target was judged on an answer, made by it or found here |
| `shards` | how a run's shard ended |

An answer is reused where target fingerprint, prompt hash and question hash agree. Each is
committed as it arrives, so a run that is killed loses none and asks none again.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock

from capgate.answers import Answer, AnswerState
from capgate.errors import StoreError
from capgate.redact import Redactor

if TYPE_CHECKING:
    from capgate.datasets import Question

SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 60.0
_CHUNK: Final = 500

_SCHEMA: Final = """
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

_ANSWER_COLUMNS: Final = (
    "question, subject, state, choice, text, prompt_tokens, completion_tokens, seconds, margin, "
    "served_by, cost"
)


@dataclass(frozen=True, slots=True)
class Context:
    """Whom an answer came from and how it was asked for.

    Attributes:
        id: The store's number for it.
        fingerprint: Hash of the target's identity and generation settings.
        prompt: Hash of the prompt's form.
    """

    id: int
    fingerprint: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer as the store keeps it.

    Attributes:
        id: Its number.
        answer: The answer.
        run: The run that asked for it.
    """

    id: int
    answer: Answer
    run: str


@dataclass(frozen=True, slots=True)
class KeptQuestion:
    """A question's text, as the store keeps it.

    Attributes:
        hash: Content hash.
        subject: Its subject.
        sample: Inspect's id of it.
        text: The question, without few-shot examples.
        choices: Its choices.
        key: The right letter.
    """

    hash: str
    subject: str
    sample: str
    text: str
    choices: tuple[str, ...]
    key: str


class Store:
    """A connection to a store; one for each process, closed by leaving its context.

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
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise self._fault("opened", error) from None
        try:
            self._db.execute("BEGIN")
            self._schema()
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
            raise self._fault("opened", error) from None
        except StoreError:
            self._db.close()
            raise

    def _fault(self, verb: str, error: Exception) -> StoreError:
        return StoreError(
            f"the store of answers {self.path} can't be {verb}",
            said=str(error),
            remedy="make its folder writable (with room on its disk), or name another file with "
            "--store",
        )

    def _schema(self) -> int:
        """The file's schema, 0 where it is new; reads only.

        Raises:
            StoreError: The schema is newer, or another program's.
        """
        found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if found > SCHEMA_VERSION:
            raise StoreError(
                f"the store of answers {self.path} has schema {found}; this capgate knows "
                f"{SCHEMA_VERSION}",
                remedy="upgrade capgate or name another file with --store; nothing was changed",
            )
        if found == 0 and self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise StoreError(
                f"{self.path} is another program's database, not a store of answers",
                remedy="name another file with --store; nothing was changed",
            )
        return found

    def _migrate(self) -> None:
        with self._transaction():
            if self._schema() == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            # Earlier versions kept the URLs of alerts, which are secrets.
            self._db.execute(
                "UPDATE runs SET settings = json_remove(settings, '$.alerts') "
                "WHERE json_valid(settings) AND json_extract(settings, '$.alerts') IS NOT NULL"
            )

    def __enter__(self) -> Store:
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
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            # Some faults, such as a full disk, have already rolled back by themselves.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._fault("written", error) from None
            raise

    def _json(self, facts: Mapping[str, Any]) -> str:
        return json.dumps(self._redactor.data(facts), sort_keys=True)

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Holds the right to compute `name`, waiting for whoever holds it now.

        The operating system frees a claim when its holder dies, however it dies.
        """
        folder = self.path.with_name(f".{self.path.name}.claims")
        folder.mkdir(exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            yield

    def start_run(self, run: str, settings: Mapping[str, Any]) -> None:
        """Records a run and what it was asked to do."""
        self._db.execute(
            "INSERT OR IGNORE INTO runs VALUES (?, ?, ?)",
            (run, time.time(), self._json(settings)),
        )

    def context(self, fingerprint: str, prompt: str, facts: Mapping[str, Any]) -> Context:
        """The context of that fingerprint and prompt, made where it is new."""
        key = (fingerprint, prompt)
        find = "SELECT id FROM contexts WHERE fingerprint = ? AND prompt = ?"
        found = self._db.execute(find, key).fetchone()
        if found is None:
            self._db.execute(
                "INSERT OR IGNORE INTO contexts (fingerprint, prompt, facts) VALUES (?, ?, ?)",
                (*key, self._json(facts)),
            )
            found = self._db.execute(find, key).fetchone()
        return Context(int(found[0]), fingerprint, prompt)

    def find(
        self,
        context: Context,
        questions: Sequence[str],
        *,
        run: str,
        fresh: bool = False,
        target: str = "",
    ) -> dict[str, Stored]:
        """The newest valid answer to each of `questions`.

        What already counts in this run stays, whoever asks again meanwhile. Faults of other runs
        are not answers and are left out; those of this run are found, so that one run does not ask
        a failed question over and over.

        Args:
            context: Whom and how.
            questions: Content hashes.
            run: This run.
            fresh: Take only what this run asked by itself.
            target: For whom it would count.
        """
        found: dict[str, Stored] = {}
        for chunk in _chunks(questions):
            marks = ",".join("?" * len(chunk))
            rows = self._db.execute(
                f"SELECT {_ANSWER_COLUMNS}, id, run FROM answers "
                f"WHERE context = ? AND question IN ({marks}) "
                "AND (run = ? OR (state != 'error' AND NOT ?)) ORDER BY EXISTS (SELECT 1 FROM uses "
                "WHERE uses.run = ? AND uses.target = ? AND uses.answer = answers.id), id",
                (context.id, *chunk, run, fresh, run, target),
            )
            for row in rows:
                stored = Stored(row[-2], _answer(row), row[-1])
                found[stored.answer.question] = stored
        return found

    def mean_cost(self, context: Context) -> float | None:
        """Mean US dollars of a context's answers; None where none has a cost."""
        query = "SELECT AVG(cost) FROM answers WHERE context = ?"
        found = self._db.execute(query, (context.id,)).fetchone()[0]
        return None if found is None else float(found)

    def add(self, context: Context, answer: Answer, *, run: str, target: str) -> int:
        """Records an answer that `run` had for `target`, and that it counts.

        Returns:
            The answer's number.
        """
        with self._transaction():
            cursor = self._db.execute(
                f"INSERT INTO answers (context, {_ANSWER_COLUMNS}, run, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    context.id,
                    answer.question,
                    answer.subject,
                    answer.state,
                    answer.choice,
                    _encodable(self._redactor.text(answer.text)),
                    answer.prompt_tokens,
                    answer.completion_tokens,
                    answer.seconds,
                    answer.margin,
                    _encodable(self._redactor.text(answer.served_by)),
                    answer.cost,
                    run,
                    time.time(),
                ),
            )
            number = int(cursor.lastrowid or 0)
            self._db.execute("INSERT INTO uses VALUES (?, ?, ?)", (run, target, number))
        return number

    def reuse(self, answers: Iterable[int], *, run: str, target: str) -> None:
        """Records that answers found here count in `run` for `target`."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO uses VALUES (?, ?, ?)", [(run, target, a) for a in answers]
            )

    def keep_questions(self, questions: Iterable[Question]) -> None:
        """Keeps the questions' texts, for whoever reads the answers later."""
        rows = [
            (
                q.hash,
                q.subject,
                str(q.sample.id),
                q.sample.input if isinstance(q.sample.input, str) else q.sample.input[-1].text,
                json.dumps(q.sample.choices, ensure_ascii=False),
                str(q.sample.target),
            )
            for q in questions
        ]
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO questions VALUES (?, ?, ?, ?, ?, ?)", rows)

    def kept_questions(self, questions: Sequence[str]) -> dict[str, KeptQuestion]:
        """Content hash to question, for those of `questions` that are kept."""
        found: dict[str, KeptQuestion] = {}
        for chunk in _chunks(questions):
            marks = ",".join("?" * len(chunk))
            rows = self._db.execute(
                "SELECT hash, subject, sample_id, text, choices, key FROM questions "
                f"WHERE hash IN ({marks})",
                tuple(chunk),
            )
            for row in rows:
                found[row[0]] = KeptQuestion(
                    hash=row[0],
                    subject=row[1],
                    sample=row[2],
                    text=row[3],
                    choices=tuple(json.loads(row[4])),
                    key=row[5],
                )
        return found

    def end_shard(self, run: str, target: str, shard: str, facts: Mapping[str, Any]) -> None:
        """Records how a shard ended; a later end of the same shard replaces it."""
        self._db.execute(
            "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?)",
            (run, target, shard, self._json(facts)),
        )

    def shards(self, run: str) -> dict[tuple[str, str], dict[str, Any]]:
        """Target and shard to how it ended, for all shards of a run."""
        rows = self._db.execute("SELECT target, shard, facts FROM shards WHERE run = ?", (run,))
        return {(target, shard): json.loads(facts) for target, shard, facts in rows}

    def used(self, run: str, target: str) -> list[Stored]:
        """All answers that count in `run` for `target`; the newest for each question."""
        rows = self._db.execute(
            f"SELECT {_ANSWER_COLUMNS}, answers.id, answers.run FROM uses "
            "JOIN answers ON answers.id = uses.answer "
            "WHERE uses.run = ? AND uses.target = ? ORDER BY answers.id",
            (run, target),
        )
        latest = {row[0]: Stored(row[-2], _answer(row), row[-1]) for row in rows}
        return list(latest.values())

    def runs(self) -> list[tuple[str, float, dict[str, Any]]]:
        """Id, start (Unix seconds) and settings of every run, newest first."""
        rows = self._db.execute("SELECT id, started, settings FROM runs ORDER BY started DESC")
        return [(run, started, json.loads(settings)) for run, started, settings in rows]


def _answer(row: Sequence[Any]) -> Answer:
    return Answer(
        question=row[0],
        subject=row[1],
        state=AnswerState(row[2]),
        choice=row[3],
        text=row[4],
        prompt_tokens=row[5],
        completion_tokens=row[6],
        seconds=row[7],
        margin=row[8],
        served_by=row[9],
        cost=row[10],
    )


def _encodable(text: str) -> str:
    r"""`text` with lone surrogates, which a cut-off emoji leaves, as `\udNNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
