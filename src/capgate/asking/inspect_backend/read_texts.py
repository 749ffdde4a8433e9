"""Stored texts put through upstream's own solver and scorer once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inspect_ai.scorer import choice
from inspect_evals.mmlu.mmlu import mmlu_multiple_choice

from capgate.benchmarks.benchmark import Reading
from capgate.benchmarks.mmlu.reading import read
from capgate.benchmarks.questions import Question
from capgate.benchmarks.without_model import no_model
from capgate.common.event_loop import in_own_loop


def read_texts(
    asked: Sequence[tuple[Question, str]], max_tokens: int, on_read: Callable[[], None]
) -> list[Reading]:
    """See `capgate.asking.inspect_calls.read_texts`."""

    async def read_all() -> list[Reading]:
        found = []
        for question, text in asked:
            found.append(await read(solver, scorer, question.sample, text))
            on_read()
        return found

    scorer = choice()
    with no_model():
        solver = mmlu_multiple_choice(max_non_cot_tokens=max_tokens)
        return in_own_loop(read_all)
