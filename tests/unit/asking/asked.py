"""Short ways to have a runner ask a real server's models real questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from tests.doubles.runs import MAX_TOKENS, TASK, questions
from tests.doubles.server import Server
from tests.unit.client.conftest import KEY, QUICK

from capgate.asking import inspect_calls
from capgate.asking.outcome import Outcome, QuestionTask
from capgate.asking.runner import Runner
from capgate.asking.target_client import TargetClient
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.task import MmluTask
from capgate.benchmarks.questions import Question
from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.common.redact import Redactor
from capgate.config.run_options import LogFormat, RunnerKind

MMLU = MmluTask(TASK, MAX_TOKENS)


def runner_of(
    kind: RunnerKind, logs: Path, benchmark: Benchmark = MMLU, log_format: LogFormat = "json"
) -> Runner:
    """A runner that writes logs into a folder."""
    return inspect_calls.runner_of(kind, benchmark, logs, temperature=0.0, log_format=log_format)


@dataclass(frozen=True)
class Changed(MmluTask):
    """The benchmark's task with parts of its own.

    Attributes:
        parts: The parts of Inspect's task.
    """

    parts: tuple[tuple[str, Any], ...] = ()

    def task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """Builds it."""
        return self._with_parts(super().task(questions, shard=shard))

    def direct_task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """Builds what the direct runner asks."""
        return self._with_parts(super().direct_task(questions, shard=shard))

    def _with_parts(self, made: Task) -> Task:
        for name, part in self.parts:
            setattr(made, name, part)
        return made


def changed(**parts: Any) -> Changed:  # noqa: ANN401
    """The benchmark's task with other parts."""
    return Changed(MMLU.task_name, MMLU.max_tokens, parts=tuple(parts.items()))


Ended = list[tuple[QuestionTask, Outcome]]


def client_of(
    server: Server,
    target: str = "mine",
    *,
    key: str = KEY,
    model: str = "lora-a",
    connections: int = 8,
    logprobs: int | None = None,
    extra_body: dict[str, object] | None = None,
) -> TargetClient:
    """The way to a model of a server."""
    limits = ClientLimits(**(QUICK | {"max_retries": 1}), connections=connections)  # type: ignore[arg-type]
    client = Client(server.url, target=target, model=model, key=key, limits=limits)
    return TargetClient(
        target,
        client,
        model,
        redactor=Redactor([key]),
        extra_body=extra_body,
        logprobs=logprobs,
    )


def some(count: int, first: int = 0) -> Sequence[Question]:
    """Some of the questions that capgate ships."""
    return questions()[first : first + count]


def task_of(
    client: TargetClient, count: int = 4, name: str = "anatomy", first: int = 0
) -> QuestionTask:
    """A task of some questions for a model."""
    return QuestionTask(name, some(count, first), client, target=client.target, look="first")


async def asked(
    runner: Runner,
    tasks: Sequence[QuestionTask],
    on_outcome: Callable[[QuestionTask, Outcome], None] = lambda task, outcome: None,  # noqa: ARG005
) -> Ended:
    """Has tasks asked, closes their clients and returns what came, in order."""
    ended: Ended = []

    def take(task: QuestionTask, outcome: Outcome) -> None:
        ended.append((task, outcome))
        on_outcome(task, outcome)

    try:
        await runner.ask(tasks, take)
    finally:
        for task in tasks:
            await task.client.client.aclose()
    return ended


def ask(
    runner: Runner,
    *tasks: QuestionTask,
    on_outcome: Callable[[QuestionTask, Outcome], None] = lambda task, outcome: None,  # noqa: ARG005
) -> Ended:
    """As `asked`, in a loop of its own."""
    return asyncio.run(asked(runner, tasks, on_outcome))


def logs_in(folder: Path) -> list[EvalLog]:
    """The logs of a folder, with their samples."""
    return [read_eval_log(one.name) for one in list_eval_logs(str(folder))]
