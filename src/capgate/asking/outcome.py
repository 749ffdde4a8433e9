"""How a question that a target was asked ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from capgate.asking.cost_limit import NotAskedError
from capgate.asking.target_client import TargetClient
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import RequestFault
from capgate.common.text import one_line

_LONGEST_CHOICE: Final = 120

TARGET: Final = "capgate_job"
"""The key of a log's metadata that says which target was asked."""

LOOK: Final = "capgate_look"
"""The key of a log's metadata that says why it was asked (`store.shard.Look`)."""


BENCHMARK: Final = "capgate_benchmark"
"""The key of a log's metadata that says what was asked; logs of MMLU have none."""

Fault = RequestFault | NotAskedError
"""Why a question has no answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a question that was asked ended.

    Attributes:
        answer: The answer; of state `error` where there is none.
        fault: Why there is no answer; None where there is one, and where the task itself failed.
    """

    answer: Answer
    fault: Fault | None = None


@dataclass(frozen=True, eq=False)
class QuestionTask:
    """Questions that one model is asked: one of Inspect's tasks, with a log of its own.

    Attributes:
        name: Name of the questions, such as the subject.
        questions: What to ask, in order.
        client: The way to the model.
        target: The target's id, for the log; `""` where the log is not looked up by it.
        look: Why it is asked (`store.shard.Look`), for the log.
    """

    name: str
    questions: Sequence[Question]
    client: TargetClient = field(repr=False)
    target: str = ""
    look: str = ""


def short_choice(read: str) -> str:
    """What was read in an answer, on one short line; its whole text is kept beside it."""
    return read if len(read) < 2 else one_line(read, limit=_LONGEST_CHOICE)


def error_answer(question: Question, text: str) -> Answer:
    """A question that was asked and not answered."""
    return Answer(question.hash, question.subject, AnswerState.ERROR, text=text)
