"""The same questions once more: in another order, without the answers of the first look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from capgate.asking.evaluator import Evaluator
from capgate.asking.ready_target import Progress, ReadyTarget, ShardResult
from capgate.benchmarks.questions import Question
from capgate.gate.rows import seeded_order
from capgate.store.shard import Look

_IN_LOGS: Final[dict[Look, str]] = {
    "confirm": "confirm",
    "repeat": "again",
    "remedy": "remedy",
    "remedy_repeat": "remedy_again",
}
"""How the names of logs say which look they are of."""


def ask_again(
    evaluator: Evaluator,
    questions: Sequence[Question],
    targets: Sequence[ReadyTarget],
    *,
    look: Look,
    name: str,
    progress: Progress | None = None,
) -> dict[str, ShardResult]:
    """Has questions answered a second time.

    Args:
        evaluator: The one of the first look.
        questions: What to ask.
        targets: The targets to ask.
        look: Why; a run asks each question once in each look.
        name: Name of these questions, for logs.
        progress: Told of each answer as it comes.

    Returns:
        Target's id to its result, answers in the order of `questions`.
    """
    known = {question.hash: question for question in questions}
    order = [known[one] for one in seeded_order(known, seed=(evaluator.settings.seed or 0) + 1)]
    results = evaluator.for_look(look).answer(
        order, targets, shard=f"{name}_{_IN_LOGS[look]}", progress=progress, fresh=True
    )
    return {target: _in_order(result, questions) for target, result in results.items()}


def _in_order(result: ShardResult, questions: Sequence[Question]) -> ShardResult:
    answers = {answer.question: answer for answer in result.answers}
    return replace(result, answers=tuple(answers[question.hash] for question in questions))
