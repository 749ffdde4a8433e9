"""Tests whether answers that an earlier version stored without an observation still hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from capgate.asking.inspect_calls import ask_one_model
from capgate.asking.outcome import QuestionTask
from capgate.benchmarks.mmlu.record import mmlu_question
from capgate.benchmarks.mmlu.task import MmluTask
from capgate.common.answers import Answer
from capgate.store.answer_store import Store

if TYPE_CHECKING:
    from inspect_ai.model import Model

ADOPTED_BY: Final = 24
"""How many of a target's stored answers are asked again before all of them are used."""

_OTHERS: Final = 1
"""How many of these may be answered differently: servers are not deterministic under load."""


def answers_alike(
    model: Model,
    stored: Sequence[Answer],
    store: Store,
    mmlu_task: MmluTask,
    logs: Path,
    *,
    temperature: float,
) -> bool:
    """Whether a server still gives its stored answers; the new answers are not stored.

    Args:
        model: Inspect's model of the server.
        stored: Some of its stored answers.
        store: Has the questions' texts.
        mmlu_task: The task by which they were asked.
        logs: Folder for Inspect's logs.
        temperature: Sampling temperature.
    """
    if mmlu_task.shots:
        return False  # the store has no few-shot examples, so the prompt would be another one
    kept = store.kept_questions([answer.question for answer in stored])
    questions = [
        replace(mmlu_question(one.text, one.choices, one.key, one.subject), hash=one.hash)
        for one in kept.values()
    ]
    if len(questions) < len(stored):
        return False
    for question in questions:
        question.sample.id = question.hash
    outcomes = ask_one_model(
        QuestionTask("weights", questions, model), mmlu_task, logs, temperature=temperature
    )
    now = {one: outcome.answer for one, outcome in outcomes.items()}
    same = sum(
        one.question in now
        and (now[one.question].state, now[one.question].choice) == (one.state, one.choice)
        for one in stored
    )
    return len(stored) - same <= min(_OTHERS, len(stored) - 1)
