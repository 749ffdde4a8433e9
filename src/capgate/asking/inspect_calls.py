"""The calls into Inspect. Importing it takes seconds, so each of them imports it first.

No other module of `asking` imports Inspect when it runs; `inspect_backend` does at its top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capgate.asking.outcome import Outcome, QuestionTask
from capgate.asking.target_client import TargetClient
from capgate.benchmarks.mmlu.reading import Reading
from capgate.benchmarks.mmlu.task import MmluTask
from capgate.benchmarks.questions import Question

if TYPE_CHECKING:
    from inspect_ai.model import Model

OnOutcome = Callable[[QuestionTask, Outcome], None]


def model_of(client: TargetClient, *, base_url: str, logprobs: int | None) -> Model:
    """Inspect's handle on a target.

    Args:
        client: The way that its requests take.
        base_url: The API's root, for the log.
        logprobs: The number of likeliest tokens to ask for at each place; None for none.
    """
    from capgate.asking.inspect_backend.provider import model_of

    return model_of(client, base_url=base_url, logprobs=logprobs)


def ask_questions(
    tasks: Sequence[QuestionTask],
    mmlu_task: MmluTask,
    logs: Path,
    *,
    temperature: float,
    on_outcome: OnOutcome,
    samples: int = 64,
    tasks_at_once: int | None = None,
) -> dict[QuestionTask, Path]:
    """Asks models questions in one of Inspect's evaluations.

    Args:
        tasks: What to ask which model.
        mmlu_task: The benchmark's task.
        logs: Folder for Inspect's logs.
        temperature: Sampling temperature.
        on_outcome: Called with each question's outcome as it comes. Where it raises, unanswered
            questions are cancelled.
        samples: Most questions of a model in progress.
        tasks_at_once: Most tasks in progress; all where None.

    Returns:
        Each task's log.

    Raises:
        FileError: A log can't be written.
        CapgateError: Inspect ended a task by a fault of its own.
        KeyboardInterrupt: The evaluation was interrupted.
        Exception: What `on_outcome` raised.
    """
    from capgate.asking.inspect_backend.ask import ask_questions

    return ask_questions(
        tasks,
        mmlu_task,
        logs,
        temperature=temperature,
        on_outcome=on_outcome,
        samples=samples,
        tasks_at_once=tasks_at_once,
    )


def ask_one_model(
    task: QuestionTask, mmlu_task: MmluTask, logs: Path, *, temperature: float
) -> dict[str, Outcome]:
    """Asks one model some questions whose answers are not stored.

    Returns:
        Question's hash to its outcome.

    Raises:
        CapgateError: As `ask_questions` does.
    """
    outcomes: dict[str, Outcome] = {}

    def note(_: QuestionTask, outcome: Outcome) -> None:
        outcomes[outcome.answer.question] = outcome

    ask_questions([task], mmlu_task, logs, temperature=temperature, on_outcome=note)
    return outcomes


def read_texts(
    asked: Sequence[tuple[Question, str]], max_tokens: int, *, on_read: Callable[[], None]
) -> list[Reading]:
    """What upstream's solver and scorer make of texts, as they do of a model's answers.

    Args:
        asked: Questions and the texts that answer them.
        max_tokens: The most tokens of an answer that the task allows.
        on_read: Called after each text.

    Returns:
        How each is read.

    Raises:
        ConfigError: Today's scorer gives no score.
    """
    from capgate.asking.inspect_backend.read_texts import read_texts

    return read_texts(asked, max_tokens, on_read)
