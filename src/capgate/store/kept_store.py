"""The part of the store that holds what is kept besides answers: questions, servers' weights."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.store.ids import sighting_id
from capgate.store.kept import KeptQuestion, Seen
from capgate.store.opened import OpenStore, facts_of
from capgate.store.tables import TABLE

if TYPE_CHECKING:
    from capgate.benchmarks.questions import Question

_T = TypeVar("_T", str, bytes)

_CHUNK: Final = 500


class KeptStore(OpenStore):
    """A store of answers, as far as it keeps something else."""

    def keep_questions(self, questions: Sequence[Question], *, benchmark: str = MMLU) -> None:
        """Keeps a benchmark's questions, which reports show beside the answers."""
        kept: set[tuple[str, str]] = set()
        for chunk in chunks([question.hash for question in questions]):
            marks = ",".join("?" * len(chunk))
            found = self.rows(
                f"SELECT hash, subject FROM questions WHERE benchmark = ? AND hash IN ({marks})",
                (benchmark, *chunk),
            )
            kept.update((row[0], row[1]) for row in found)
        now = time.time()
        rows = [
            (
                benchmark,
                q.hash,
                q.subject,
                str(q.sample.id),
                q.sample.input if isinstance(q.sample.input, str) else q.sample.input[-1].text,
                json.dumps(q.sample.choices or [], ensure_ascii=False),
                json.dumps(q.sample.target, ensure_ascii=False),
                now,
            )
            for q in questions
            if (q.hash, q.subject) not in kept
        ]
        if rows:
            # In one order in all processes, so that no two of them wait for each other.
            rows.sort(key=lambda row: row[1])
            with self.transaction() as db:
                db.executemany(TABLE["questions"].replacing(), rows)

    def kept_questions(
        self, questions: Sequence[str], *, benchmark: str = MMLU
    ) -> dict[str, KeptQuestion]:
        """Content hash to question, for those of a benchmark's `questions` that are kept."""
        found: dict[str, KeptQuestion] = {}
        for chunk in chunks(questions):
            marks = ",".join("?" * len(chunk))
            rows = self.rows(
                "SELECT hash, subject, sample_id, text, choices, key FROM questions "
                f"WHERE benchmark = ? AND hash IN ({marks})",
                (benchmark, *chunk),
            )
            with self.reading():
                found |= {row[0]: _kept_question(*row) for row in rows}
        return found

    def sightings(self, server: str) -> list[Seen]:
        """The weights that a server was seen with, newest first."""
        rows = self.rows(
            "SELECT weights, run, at, facts FROM sightings WHERE server = ? ORDER BY at DESC",
            (server,),
        )
        with self.reading():
            return [Seen(weights, run, at, facts_of(facts)) for weights, run, at, facts in rows]

    def sighting(self, weights: str) -> Seen | None:
        """The sighting of that name; None where there is none."""
        rows = self.rows(
            "SELECT weights, run, at, facts FROM sightings WHERE weights = ? ORDER BY at LIMIT 1",
            (weights,),
        )
        with self.reading():
            if not rows:
                return None
            found, run, at, facts = rows[0]
            return Seen(found, run, at, facts_of(facts))

    def keep_sighting(self, server: str, seen: Seen) -> None:
        """Keeps the weights that a server was first seen with."""
        with self.transaction() as db:
            db.execute(
                TABLE["sightings"].new(),
                (
                    sighting_id(server, seen.weights, seen.run, seen.at),
                    server,
                    seen.weights,
                    seen.run,
                    seen.at,
                    self.as_json(seen.facts),
                ),
            )


def _kept_question(
    name: str, subject: str, sample: str, text: str, choices: str, key: str
) -> KeptQuestion:
    keys = json.loads(key)
    return KeptQuestion(
        name,
        subject,
        sample,
        text,
        tuple(map(str, json.loads(choices))),
        tuple(map(str, keys)) if isinstance(keys, list) else (str(keys),),
    )


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Parts of a list that one statement can name."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
