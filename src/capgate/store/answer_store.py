"""The store of answers: one SQLite file, shared by all workers and by later runs.

| table | one row for |
|---|---|
| `contexts` | who was asked, and how: target fingerprint, prompt hash, and what they stand for |
| `taken_over` | that the answers of one context count for another one as well |
| `answers` | an answer or a fault; never deleted or changed, at most set aside |
| `questions` | a benchmark's question: group, text, choices and key |
| `runs` | a run and its settings |
| `uses` | that a benchmark's look at a run's target rests on an answer, made by it or found here |
| `shards` | how a run's shard ended (`capgate.store.shard`) |
| `sightings` | the weights that a server was first seen with, and how these are known again |
| `tries` | which try on a candidate a benchmark's run was (`capgate.store.tries`) |

An answer is reused where target fingerprint, prompt hash and question hash agree. Each is
committed as it arrives, so a run that is killed loses none and asks none again. No two machines
give two rows one id (`capgate.store.ids`), so stores can be put together (`capgate.store.merge`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.store.answer_rows import (
    COUNTS_NOWHERE,
    STORED,
    Context,
    NewAnswer,
    Stored,
    answer_of,
    distinct,
    ids_of,
    in_group,
    stored_of,
    values_of,
)
from capgate.store.contexts import Kept, contexts_for, keep_together, take_over
from capgate.store.ids import AnswerIds, context_id
from capgate.store.kept_store import chunks
from capgate.store.run_store import RunStore
from capgate.store.shard import Look
from capgate.store.tables import TABLE

_IDS: Final = AnswerIds()


class Store(RunStore):
    """A connection to a store; one for each process, closed by leaving its context.

    Args:
        at: The store's file, made with its folder where it is missing; or the open database that
            has the store's tables.
        redactor: Removes what must not be kept; a reader needs none.

    Raises:
        StoreError: It can't be opened, is not a store, or has a newer schema.
    """

    def context(self, fingerprint: str, prompt: str, facts: Mapping[str, Any]) -> Context:
        """The context of that fingerprint and prompt, made where it is new."""
        found = Context(context_id(fingerprint, prompt), fingerprint, prompt)
        if not self.rows("SELECT 1 FROM contexts WHERE id = ?", (found.id,)):
            with self.transaction() as db:
                db.execute(
                    TABLE["contexts"].new(),
                    (found.id, fingerprint, prompt, self.as_json(facts), time.time()),
                )
        return found

    def oldest(self, contexts: Collection[bytes]) -> bytes:
        """The one of some contexts' ids that was made first."""
        marks = ",".join("?" * len(contexts))
        rows = self.rows(f"SELECT made, id FROM contexts WHERE id IN ({marks})", sorted(contexts))
        return bytes(min(rows)[1])

    def find(
        self,
        context: Context,
        questions: Sequence[str],
        *,
        run: str,
        fresh: bool = False,
        faults: bool = False,
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
            faults: Take a fault of another run for a question to which there is no answer.
            target: For whom it would count.
            look: Why the questions are asked.
            benchmark: The benchmark that asks them.
        """
        contexts = sorted(contexts_for(self, context.id))
        here = ",".join("?" * len(contexts))
        found: dict[str, Stored] = {}
        for chunk in chunks(questions):
            marks = ",".join("?" * len(chunk))
            rows = self.rows(
                f"SELECT {STORED} FROM answers WHERE context IN ({here}) "
                f"AND question IN ({marks}) AND ((run = ? AND look = ?) "
                "OR ((state != 'error' OR ?) AND NOT ?))",
                (*contexts, *chunk, run, look, faults, fresh),
            )
            with self.reading():
                valid = distinct(rows)
                counting = self._counting((run, target, look, benchmark), ids_of(valid))
                answers = [stored_of(row, counting=counting) for row in valid]
                answers.sort(key=lambda one: (one.counts, one.answer.state.scored))
                found |= {one.answer.question: one for one in answers}
        return found

    def _counting(self, where: tuple[str, str, str, str], answers: Sequence[bytes]) -> set[bytes]:
        """Those of some answers that count in a run for a target, look and benchmark."""
        found: set[bytes] = set()
        for chunk in chunks(answers):
            marks = ",".join("?" * len(chunk))
            rows = self.rows(
                "SELECT answer FROM uses WHERE run = ? AND target = ? AND look = ? "
                f"AND benchmark = ? AND answer IN ({marks})",
                (*where, *chunk),
            )
            found.update(row[0] for row in rows)
        return found

    def mean_cost(self, context: Context) -> float | None:
        """Mean US dollars of a context's answers; None where none has a cost."""
        query = "SELECT SUM(cost), COUNT(cost) FROM answers WHERE context = ?"
        contexts = contexts_for(self, context.id)
        sums = [row for one in contexts for row in self.rows(query, (one,))]
        count = sum(row[1] for row in sums)
        return sum(row[0] or 0.0 for row in sums) / count if count else None

    def add(
        self,
        context: Context,
        answer: Answer,
        *,
        run: str,
        target: str,
        look: Look = "first",
        benchmark: str = MMLU,
    ) -> bytes:
        """Records an answer that `run` got for `target` in a look, and that it counts there.

        Returns:
            The answer's id.
        """
        return self.add_all([NewAnswer(context, answer, target, look, benchmark)], run=run)[0]

    def add_all(self, new: Iterable[NewAnswer], *, run: str) -> list[bytes]:
        """Records answers that `run` got; all of them, or none where one can't be written.

        Returns:
            The answers' ids, in order.
        """
        created = time.time()
        answers, uses = [], []
        for one in new:
            values = values_of(one.answer, self._redactor.text)
            number = _IDS.new(created)
            answers.append((number, one.context.id, *values, run, created, one.look, 0))
            uses.append((run, one.target, one.look, one.benchmark, number, None))
        with self.transaction() as db:
            db.executemany(TABLE["answers"].new(), answers)
            db.executemany(TABLE["uses"].new(), uses)
        return [row[0] for row in answers]

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
        rows = [(run, target, look, benchmark, one.id, one.answer.subject) for one in answers]
        if rows:
            with self.transaction() as db:
                db.executemany(TABLE["uses"].replacing(), rows)

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
        uses = self.rows(
            "SELECT answer, subject FROM uses WHERE run = ? AND target = ? AND look = ? "
            "AND benchmark = ?",
            (run, target, look, benchmark),
        )
        groups: dict[bytes, str | None] = dict(uses)
        rows: list[Any] = []
        for chunk in chunks(sorted(groups)):
            marks = ",".join("?" * len(chunk))
            rows += self.rows(f"SELECT {STORED} FROM answers WHERE id IN ({marks})", chunk)
        with self.reading():
            counting = map(stored_of, distinct(rows, set_aside=COUNTS_NOWHERE - 1))
            latest = {one.answer.question: one for one in counting}
            return [
                in_group(one, groups[one.id])
                for one in latest.values()
                if states is None or one.answer.state in states
            ]

    def kept_under(self, fingerprint: str, prompt: str, facts: Mapping[str, Any]) -> Kept:
        """The fingerprint under which the answers of a model that is asked in one way are kept."""
        with self.transaction(alone=True), self.reading():
            return keep_together(self, fingerprint, prompt, json.loads(self.as_json(facts)))

    def take_over(self, fingerprint: str, by: str, facts: Mapping[str, Any]) -> None:
        """Has answers that are kept under one fingerprint count under another one as well.

        Args:
            fingerprint: The one that they are kept under.
            by: The other one.
            facts: What the other one was made from.
        """
        rows = self.rows("SELECT id, prompt FROM contexts WHERE fingerprint = ?", (fingerprint,))
        for context, prompt in sorted(set(rows)):
            take_over(self, [context], self.context(by, prompt, facts).id)

    def some_answers_under(self, fingerprint: str, limit: int = 1) -> list[Answer]:
        """The newest answers, errors left out, that were kept under a fingerprint."""
        rows: list[Any] = []
        query = "SELECT id FROM contexts WHERE fingerprint = ?"
        for context in {row[0] for row in self.rows(query, (fingerprint,))}:
            rows += self.rows(
                f"SELECT {STORED} FROM answers WHERE set_aside = 0 AND state != 'error' "
                "AND context = ? ORDER BY id DESC LIMIT ?",
                (context, limit),
            )
        with self.reading():
            return [answer_of(row) for row in reversed(distinct(rows)[-limit:])]

    def asked_since(self, context: Context, run: str, since: float = 0.0) -> int:
        """How many answers of a context a run has received since a time (Unix seconds)."""
        query = "SELECT COUNT(*) FROM answers WHERE context = ? AND run = ? AND created >= ?"
        return int(self.rows(query, (context.id, run, since))[0][0])

    def leave_out(self, context: Context, run: str, since: float, endpoint: str = "") -> int:
        """Sets aside the answers of a context that a run has received since a time.

        They count no more, in this run and in later ones.

        Args:
            context: The context.
            run: The run.
            since: The time, Unix seconds.
            endpoint: Only those of this endpoint, where one is named.

        Returns:
            How many they are.
        """
        which = "context = ? AND run = ? AND created >= ? AND ? IN ('', endpoint)"
        values = (COUNTS_NOWHERE, context.id, run, since, endpoint)
        with self.transaction() as db:
            return db.execute(f"UPDATE answers SET set_aside = ? WHERE {which}", values).rowcount
