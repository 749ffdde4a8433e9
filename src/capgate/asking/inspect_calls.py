"""The calls into Inspect. Importing it takes seconds, so each of them imports it first.

No other module of `asking` imports Inspect when it runs; `inspect_backend` does at its top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capgate.asking.runner import Runner
from capgate.benchmarks.benchmark import Benchmark, Reading
from capgate.benchmarks.questions import Question
from capgate.config.run_options import LogFormat, RunnerKind

if TYPE_CHECKING:
    from capgate.asking.inspect_backend.inspect_runner import InspectRunner


def runner_of(
    kind: RunnerKind,
    benchmark: Benchmark,
    logs: Path,
    *,
    temperature: float,
    log_format: LogFormat,
    tell: Callable[[str], None] = lambda line: None,  # noqa: ARG005
) -> Runner:
    """Makes what asks models the questions of tasks.

    Args:
        kind: Which runner; `auto` chooses by the task.
        benchmark: What is asked.
        logs: Folder for Inspect's logs.
        temperature: Sampling temperature.
        log_format: How logs are written.
        tell: Told once why `auto` has chosen Inspect's own evaluation, where it has.
    """

    def inspect() -> InspectRunner:
        from capgate.asking.inspect_backend.inspect_runner import InspectRunner

        return InspectRunner(benchmark, logs, temperature=temperature, log_format=log_format)

    if kind == "inspect":
        return inspect()
    from capgate.asking.inspect_backend.direct_runner import DirectRunner

    def direct() -> DirectRunner:
        return DirectRunner(benchmark, logs, temperature=temperature, log_format=log_format)

    if kind == "direct":
        return direct()
    from capgate.asking.inspect_backend.chosen_runner import ChosenRunner

    return ChosenRunner(benchmark, direct, inspect, tell)


def instructions_of(benchmark: Benchmark, questions: Sequence[Question]) -> int | None:
    """Bytes that a task's instructions and few-shot examples add to a question at most.

    Args:
        benchmark: What is asked.
        questions: Its questions, at least one; some of them are looked at.

    Returns:
        The bytes; None where only Inspect's own evaluation can
        tell what the task sends.
    """
    from capgate.asking.inspect_backend.prompts import instructions_of

    return instructions_of(benchmark, questions)


def read_texts(
    asked: Sequence[tuple[Question, str]], benchmark: Benchmark, *, on_read: Callable[[], None]
) -> list[Reading]:
    """What a benchmark's solvers and scorers make of texts, as they do of a model's answers.

    Args:
        asked: Questions and the texts that answer them.
        benchmark: What was asked.
        on_read: Called after each text.

    Returns:
        How each is read.

    Raises:
        ConfigError: Today's scorer gives no score, or takes more than a text to score.
    """
    from capgate.asking.inspect_backend.read_texts import read_texts

    return read_texts(asked, benchmark, on_read)
