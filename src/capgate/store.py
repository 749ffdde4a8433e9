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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from capgate.answers import Answer, AnswerState
from capgate.errors import StoreError
from capgate.redact import Redactor
from capgate.storefile import bring_up, fault_of_store, schema_of

if TYPE_CHECKING:
    from capgate.datasets import Question

_BUSY_SECONDS: Final = 60.0
_PATIENCE: Final = 5.0
"""Seconds of waiting for a claim after which whoever waits is told."""
_CHUNK: Final = 500

_ANSWER_COLUMNS: Final = (
    "question, subject, state, choice, text, prompt_tokens, completion_tokens, seconds, margin, "
    "served_by, cost, finish_reason, cut_off, reasoning_tokens"
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
        except (sqlite3.Error, ValueError) as error:
            raise fault_of_store(self.path, "read", error) from None

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._reading():
            return self._db.execute(query, values).fetchall()

    def _migrate(self) -> None:
        with self._transaction():
            bring_up(self._db, self.path)
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
        """Holds the right to compute `name`, waiting for whoever holds it now.

        The operating system frees a claim when its holder dies, however it dies.

        Args:
            name: What is claimed.
            once: It is not computed again after this, so that nothing of the claim is kept.
            waiting: Called where the wait takes more than a few seconds.
        """
        file = self._claim_file(name)
        lock = FileLock(file)
        try:
            file.parent.mkdir(exist_ok=True)
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
        lock = FileLock(self._claim_file(name), timeout=0)
        try:
            claims.enter_context(lock)
        except Timeout:
            return False
        except OSError as error:
            raise fault_of_store(self.path, "claimed", error) from None
        return True

    def _claim_file(self, name: str) -> Path:
        return self.path.with_name(f".{self.path.name}.claims") / f"{name}.lock"

    def start_run(self, run: str, settings: Mapping[str, Any]) -> None:
        """Records a run and what it was asked to do."""
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO runs VALUES (?, ?, ?)",
                (run, time.time(), self._json(settings)),
            )

    def context(self, fingerprint: str, prompt: str, facts: Mapping[str, Any]) -> Context:
        """The context of that fingerprint and prompt, made where it is new."""
        key = (fingerprint, prompt)
        find = "SELECT id FROM contexts WHERE fingerprint = ? AND prompt = ?"
        found = self._rows(find, key)
        if not found:
            with self._transaction():
                self._db.execute(
                    "INSERT OR IGNORE INTO contexts (fingerprint, prompt, facts) VALUES (?, ?, ?)",
                    (*key, self._json(facts)),
                )
            found = self._rows(find, key)
        return Context(int(found[0][0]), fingerprint, prompt)

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
            rows = self._rows(
                f"SELECT {_ANSWER_COLUMNS}, id, run FROM answers "
                f"WHERE context = ? AND question IN ({marks}) AND usable "
                "AND (run = ? OR (state != 'error' AND NOT ?)) ORDER BY EXISTS (SELECT 1 FROM uses "
                "WHERE uses.run = ? AND uses.target = ? AND uses.answer = answers.id), id",
                (context.id, *chunk, run, fresh, run, target),
            )
            with self._reading():
                found |= {row[0]: Stored(row[-2], _answer(row), row[-1]) for row in rows}
        return found

    def mean_cost(self, context: Context) -> float | None:
        """Mean US dollars of a context's answers; None where none has a cost."""
        query = "SELECT AVG(cost) FROM answers WHERE context = ?"
        found = self._rows(query, (context.id,))[0][0]
        return None if found is None else float(found)

    def add(self, context: Context, answer: Answer, *, run: str, target: str) -> int:
        """Records an answer that `run` had for `target`, and that it counts.

        Returns:
            The answer's number.
        """
        with self._transaction():
            cursor = self._db.execute(
                f"INSERT INTO answers (context, {_ANSWER_COLUMNS}, run, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                    _encodable(self._redactor.text(answer.finish_reason)),
                    answer.cut_off,
                    answer.reasoning_tokens,
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
            rows = self._rows(
                "SELECT hash, subject, sample_id, text, choices, key FROM questions "
                f"WHERE hash IN ({marks})",
                tuple(chunk),
            )
            with self._reading():
                found |= {
                    row[0]: KeptQuestion(
                        row[0], row[1], row[2], row[3], tuple(json.loads(row[4])), row[5]
                    )
                    for row in rows
                }
        return found

    def end_shard(self, run: str, target: str, shard: str, facts: Mapping[str, Any]) -> None:
        """Records how a shard ended; a later end of the same shard replaces it."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?)",
                (run, target, shard, self._json(facts)),
            )

    def shards(self, run: str) -> dict[tuple[str, str], dict[str, Any]]:
        """Target and shard to how it ended, for all shards of a run."""
        rows = self._rows("SELECT target, shard, facts FROM shards WHERE run = ?", (run,))
        with self._reading():
            return {(target, shard): json.loads(facts) for target, shard, facts in rows}

    def used(self, run: str, target: str) -> list[Stored]:
        """All answers that count in `run` for `target`; the newest for each question."""
        rows = self._rows(
            f"SELECT {_ANSWER_COLUMNS}, answers.id, answers.run FROM uses "
            "JOIN answers ON answers.id = uses.answer "
            "WHERE uses.run = ? AND uses.target = ? ORDER BY answers.id",
            (run, target),
        )
        with self._reading():
            latest = {row[0]: Stored(row[-2], _answer(row), row[-1]) for row in rows}
        return list(latest.values())

    def runs(self) -> list[tuple[str, float, dict[str, Any]]]:
        """Id, start (Unix seconds) and settings of every run, newest first."""
        rows = self._rows("SELECT id, started, settings FROM runs ORDER BY started DESC")
        with self._reading():
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
        finish_reason=row[11],
        cut_off=bool(row[12]),
        reasoning_tokens=row[13],
    )


def _encodable(text: str) -> str:
    r"""`text` with lone surrogates, which a cut-off emoji leaves, as `\udNNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
