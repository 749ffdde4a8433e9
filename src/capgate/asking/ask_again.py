"""The same questions once more: in another order, and nothing of what was answered before."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from capgate.asking.evaluator import Evaluator
from capgate.asking.ready_target import Progress, ReadyTarget, ShardResult
from capgate.benchmarks.questions import Question
from capgate.gate.rows import seeded_order


def ask_again(
    evaluator: Evaluator,
    questions: Sequence[Question],
    ready_targets: Sequence[ReadyTarget],
    *,
    name: str,
    shard: str,
    progress: Progress | None = None,
) -> dict[str, ShardResult]:
    """Has questions answered a second time.

    Args:
        evaluator: The one of the first look.
        questions: What to ask.
        ready_targets: Whom.
        name: Of this second look; each run has one of that name, and asks it once.
        shard: Name of this part, for logs.
        progress: Told of each answer as it comes.

    Returns:
        Target's id to its result, answers in the order of `questions`.
    """
    second = copy.copy(evaluator)
    # A run's id of its own, so that nothing of the first look is taken for the second.
    second.run = f"{evaluator.run}-{name}"
    known = {question.hash: question for question in questions}
    order = [known[one] for one in seeded_order(known, seed=(evaluator.settings.seed or 0) + 1)]
    results = second.answer(
        order, ready_targets, shard=f"{shard}_{name}", progress=progress, fresh=True
    )
    return {target: _in_order(result, questions) for target, result in results.items()}


def _in_order(result: ShardResult, questions: Sequence[Question]) -> ShardResult:
    answers = {answer.question: answer for answer in result.answers}
    return replace(result, answers=tuple(answers[question.hash] for question in questions))
