"""The store of answers: one SQLite file, shared by all workers and by later runs.

| table | one row for |
|---|---|
| `contexts` | who was asked, and how: target fingerprint, prompt hash, and what they stand for |
| `answers` | an answer or a fault; never deleted, at most set aside (`usable`) |
| `questions` | a benchmark's question: group, text, choices and key |
| `runs` | a run and its settings |
| `uses` | that a benchmark's look at a run's target rests on an answer, made by it or found here |
| `shards` | how a run's shard ended (`capgate.store.shard`) |
| `sightings` | the weights that a server was first seen with, and how these are known again |
| `tries` | which try on a candidate a benchmark's run was (`capgate.store.tries`) |

An answer is reused where target fingerprint, prompt hash and question hash agree. Each is
committed as it arrives, so a run that is killed loses none and asks none again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.store.contexts import Kept, keep_together
from capgate.store.kept_store import KeptStore, chunks
from capgate.store.shard import Look, Shard
from capgate.store.store_file import facts_of

_ANSWER_COLUMNS: Final = (
    "question, subject, state, choice, text, prompt_tokens, completion_tokens, seconds, margin, "
    "served_by, cost, finish_reason, cut_off, reasoning_tokens"
)
_ANSWER_COLUMNS_IN_USE: Final = _ANSWER_COLUMNS.replace(
    " subject,", " COALESCE(uses.subject, answers.subject),"
)
_ANSWERS: Final = 14
"""How many they are."""


@dataclass(frozen=True, slots=True)
class Context:
    """Which target an answer came from, and how it was asked for.

    Attributes:
        id: The store's number for it.
        fingerprint: Hash of the target's identity and generation settings.
        prompt: Hash of the prompt's form.
    """

    id: int
    fingerprint: str
    prompt: str


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer that is to be kept.

    Attributes:
        context: Which target it came from, and how it was asked for.
        answer: The answer.
        target: For whom it counts.
        look: In which look it counts.
        benchmark: For which benchmark it counts.
    """

    context: Context
    answer: Answer
    target: str
    look: Look
    benchmark: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer as the store keeps it.

    Attributes:
        id: Its number.
        answer: The answer.
        run: The run that asked for it.
        created: When it came, Unix seconds.
        counts: Whether it counts already where it was looked for.
    """

    id: int
    answer: Answer
    run: str
    created: float = 0.0
    counts: bool = True


class Store(KeptStore):
    """A connection to a store; one for each process, closed by leaving its context.

    Args:
        path: The file; made with its folder where it is missing.
        redactor: Removes what must not be kept; a reader needs none.

    Raises:
        StoreError: It can't be opened, is not a store, or has a newer schema.
    """

    def start_run(self, run: str, settings: Mapping[str, Any]) -> None:
        """Records a run and what it was asked to do."""
        with self.transaction():
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
            with self.transaction():
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
        look: Look = "first",
        benchmark: str = MMLU,
    ) -> dict[str, Stored]:
        """The newest valid answer to each of `questions`.

        An answer that already counts in this run stays, even where another run has asked again
        since. Faults of other runs are not answers and are left out. Faults of this run are found,
        so that one run does not ask a failed question over and over.

        Args:
            context: Which target, and how it is asked.
            questions: Content hashes.
            run: This run.
            fresh: Take only what this run asked by itself, in this look.
            target: For whom it would count.
            look: Why the questions are asked.
            benchmark: The benchmark that asks them.
        """
        found: dict[str, Stored] = {}
        for chunk in chunks(questions):
            marks = ",".join("?" * len(chunk))
            rows = self._rows(
                f"SELECT {_ANSWER_COLUMNS}, id, run, created, EXISTS (SELECT 1 FROM uses "
                "WHERE uses.run = ? AND uses.target = ? AND uses.look = ? AND uses.benchmark = ? "
                "AND uses.answer = answers.id) AS counts FROM answers "
                f"WHERE context = ? AND question IN ({marks}) AND usable "
                "AND ((run = ? AND look = ?) OR (state != 'error' AND NOT ?)) "
                "ORDER BY counts, id",
                (run, target, look, benchmark, context.id, *chunk, run, look, fresh),
            )
            with self._reading():
                latest = {row[0]: row for row in rows}
                found |= {question: _stored(row) for question, row in latest.items()}
        return found

    def mean_cost(self, context: Context) -> float | None:
        """Mean US dollars of a context's answers; None where none has a cost."""
        query = "SELECT AVG(cost) FROM answers WHERE context = ?"
        found = self._rows(query, (context.id,))[0][0]
        return None if found is None else float(found)

    def add(
        self,
        context: Context,
        answer: Answer,
        *,
        run: str,
        target: str,
        look: Look = "first",
        benchmark: str = MMLU,
    ) -> int:
        """Records an answer that `run` got for `target` in a look, and that it counts there.

        Returns:
            The answer's number.
        """
        return self.add_all([NewAnswer(context, answer, target, look, benchmark)], run=run)[0]

    def add_all(self, new: Iterable[NewAnswer], *, run: str) -> list[int]:
        """Records answers that `run` got; all of them, or none where one can't be written.

        Returns:
            The answers' numbers, in order.
        """
        with self.transaction():
            return [self._add(one, run) for one in new]

    def _add(self, new: NewAnswer, run: str) -> int:
        answer = new.answer
        cursor = self._db.execute(
            f"INSERT INTO answers (context, {_ANSWER_COLUMNS}, run, created, look) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.context.id,
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
                new.look,
            ),
        )
        number = int(cursor.lastrowid or 0)
        uses = (run, new.target, new.look, new.benchmark, number)
        self._db.execute("INSERT INTO uses VALUES (?, ?, ?, ?, ?, NULL)", uses)
        return number

    def reuse(
        self,
        answers: Iterable[Stored],
        *,
        run: str,
        target: str,
        look: Look = "first",
        benchmark: str = MMLU,
    ) -> None:
        """Records that answers found here count in a benchmark's look of `run` at `target`.

        Each counts in the group that its `subject` names, which may be another than the one that
        it was stored with: the group may have been renamed since.
        """
        rows = [(run, target, look, benchmark, one.answer.subject, one.id) for one in answers]
        if rows:
            with self.transaction():
                self._db.executemany(
                    "INSERT OR REPLACE INTO uses SELECT ?, ?, ?, ?, id, NULLIF(?, subject) "
                    "FROM answers WHERE id = ?",
                    rows,
                )

    def end_shard(self, run: str, target: str, shard: Shard, facts: Mapping[str, Any]) -> None:
        """Records how a shard ended; a later end of the same shard replaces it."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?)",
                (run, target, shard.kind, shard.benchmark, shard.name, self._json(facts)),
            )

    def shards(self, run: str) -> dict[tuple[str, Shard], dict[str, Any]]:
        """Target and shard to how it ended, for all shards of a run."""
        rows = self._rows(
            "SELECT target, kind, benchmark, name, facts FROM shards WHERE run = ?", (run,)
        )
        with self._reading():
            return {(row[0], Shard(*row[1:4])): facts_of(row[4]) for row in rows}

    def used(
        self,
        run: str,
        target: str,
        look: Look = "first",
        *,
        benchmark: str = MMLU,
        states: Collection[AnswerState] | None = None,
    ) -> list[Stored]:
        """All answers that count in a benchmark's look of `run` at `target`.

        Of each question it is the newest one.

        Args:
            run: The run.
            target: The target.
            look: The look.
            benchmark: The benchmark.
            states: Only answers that ended in one of these are returned; all where it is None.
        """
        rows = self._rows(
            f"SELECT {_ANSWER_COLUMNS_IN_USE}, answers.id, answers.run, answers.created FROM uses "
            "JOIN answers ON answers.id = uses.answer WHERE uses.run = ? AND uses.target = ? "
            "AND uses.look = ? AND uses.benchmark = ? ORDER BY answers.id",
            (run, target, look, benchmark),
        )
        with self._reading():
            latest = {row[0]: row for row in rows}
            return [
                _stored(row)
                for row in latest.values()
                if states is None or AnswerState(row[2]) in states
            ]

    def kept_under(self, fingerprint: str, prompt: str, facts: Mapping[str, Any]) -> Kept:
        """The fingerprint under which the answers of a model that is asked in one way are kept."""
        with self.transaction() as db, self._reading():
            return keep_together(db, fingerprint, prompt, json.loads(self._json(facts)))

    def rename_context(self, fingerprint: str, to: str, facts: Mapping[str, Any]) -> None:
        """Gives answers that were kept under one fingerprint another one that has none yet."""
        with self.transaction():
            self._db.execute(
                "UPDATE OR IGNORE contexts SET fingerprint = ?, facts = ? WHERE fingerprint = ?",
                (to, self._json(facts), fingerprint),
            )

    def some_answers_under(self, fingerprint: str, limit: int = 1) -> list[Answer]:
        """The newest answers, errors left out, that were kept under a fingerprint."""
        rows = self._rows(
            f"SELECT {_ANSWER_COLUMNS} FROM answers WHERE usable AND state != 'error' AND context "
            "IN (SELECT id FROM contexts WHERE fingerprint = ?) ORDER BY id DESC LIMIT ?",
            (fingerprint, limit),
        )
        with self._reading():
            return [_answer(row) for row in rows]

    def asked_since(self, context: Context, run: str, since: float = 0.0) -> int:
        """How many answers of a context a run has received since a time (Unix seconds)."""
        query = "SELECT COUNT(*) FROM answers WHERE context = ? AND run = ? AND created >= ?"
        return int(self._rows(query, (context.id, run, since))[0][0])

    def leave_out(self, context: Context, run: str, since: float) -> int:
        """Sets aside the answers of a context that a run has received since a time.

        They count no more, in this run and in later ones.

        Returns:
            How many they are.
        """
        which = "context = ? AND run = ? AND created >= ?"
        values = (context.id, run, since)
        with self.transaction():
            self._db.execute(
                f"DELETE FROM uses WHERE answer IN (SELECT id FROM answers WHERE {which})", values
            )
            return self._db.execute(f"UPDATE answers SET usable = 0 WHERE {which}", values).rowcount

    def runs(self) -> list[tuple[str, float, dict[str, Any]]]:
        """Id, start (Unix seconds) and settings of every run, newest first."""
        rows = self._rows("SELECT id, started, settings FROM runs ORDER BY started DESC")
        with self._reading():
            return [(run, started, facts_of(settings)) for run, started, settings in rows]


def _stored(row: Sequence[Any]) -> Stored:
    """What a row of an answer's columns, its id, run, time and whether it counts stands for."""
    return Stored(row[_ANSWERS], _answer(row), *row[_ANSWERS + 1 :])


def _answer(row: Sequence[Any]) -> Answer:
    """The answer of a row that begins with an answer's columns, which are in its fields' order."""
    question, subject, state, *rest = row[:_ANSWERS]
    *rest, cut_off, reasoning_tokens = rest
    fields = (question, subject, AnswerState(state), *rest, bool(cut_off), reasoning_tokens)
    return Answer(*fields)


def _encodable(text: str) -> str:
    r"""`text` with lone surrogates, which a cut-off emoji leaves, as `\udNNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
