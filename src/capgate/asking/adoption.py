"""Tests whether answers that an earlier version stored without an observation still hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from capgate.asking.outcome import Outcome, QuestionTask
from capgate.asking.target_client import TargetClient
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.store.answer_store import Store

ADOPTED_BY: Final = 24
"""How many of a target's stored answers are asked again before all of them are used."""

_OTHERS: Final = 1
"""How many of these may be answered differently: servers are not deterministic under load."""


def answers_alike(
    client: TargetClient,
    stored: Sequence[Answer],
    store: Store,
    ask_one: Callable[[QuestionTask], dict[str, Outcome]],
    *,
    benchmark: Benchmark,
) -> bool:
    """Whether a server still gives its stored answers; the new answers are not stored.

    Args:
        client: The way to the server.
        stored: Some of its stored answers.
        store: Has the questions' texts.
        ask_one: Asks one model some questions.
        benchmark: What was asked.
    """
    hashes = [answer.question for answer in stored]
    kept = store.kept_questions(hashes, benchmark=benchmark.name)
    questions = [
        Question(one.hash, one.subject, sample)
        for one in kept.values()
        if (sample := benchmark.again(one.text, one.choices, one.key, one.subject)) is not None
    ]
    if len(questions) < len(stored):
        return False
    for question in questions:
        question.sample.id = question.hash
    outcomes = ask_one(QuestionTask("weights", questions, client))
    now = {one: outcome.answer for one, outcome in outcomes.items()}
    same = sum(
        one.question in now
        and (now[one.question].state, now[one.question].choice) == (one.state, one.choice)
        for one in stored
    )
    return len(stored) - same <= min(_OTHERS, len(stored) - 1)
