"""Questions in the form that upstream gave them, kept so that later processes need not ask it.

They lie in the user's cache, for this user alone, until the data set or the code that reads it
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from capgate.benchmarks.mmlu.reading import upstream_fact
from capgate.benchmarks.questions import Question


def kept_questions(
    name: str, about: str, load: Callable[[], Iterable[Question]]
) -> tuple[Question, ...]:
    """Questions from the cache, or loaded and put there.

    Only questions that come out of the cache as they went in are kept.

    Args:
        name: What they are, as part of a file's name.
        about: What tells this data set, in its present form, from all others.
        load: Loads them.

    Raises:
        DatasetError: They can't be loaded.
    """
    loaded: list[Question] = []

    def find() -> list[list[Any]] | None:
        loaded.extend(load())
        rows = [_row_of(question) for question in loaded]
        return rows if list(map(_question_of, rows)) == loaded else None

    rows = upstream_fact(name, find, about=about)
    if rows is None:
        return tuple(loaded or load())
    return tuple(map(_question_of, rows))


def _row_of(question: Question) -> list[Any]:
    sample = question.sample
    return [question.hash, question.subject, sample.id, sample.input, sample.choices, sample.target]


def _question_of(row: Sequence[Any]) -> Question:
    from inspect_ai.dataset import Sample

    known, subject, number, text, choices, target = row
    sample = Sample(
        id=number, input=text, choices=choices, target=target, metadata={"subject": subject}
    )
    return Question(known, subject, sample)
