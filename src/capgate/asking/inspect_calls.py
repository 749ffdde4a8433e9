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

    direct = DirectRunner(benchmark, logs, temperature=temperature, log_format=log_format)
    if kind == "direct":
        return direct
    from capgate.asking.inspect_backend.chosen_runner import ChosenRunner

    return ChosenRunner(benchmark, direct, inspect, tell)


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
