"""Inspect's task for a target's questions."""

from __future__ import annotations

from dataclasses import dataclass

from inspect_ai import Task, task_with

from capgate.asking.outcome import BENCHMARK, LOOK, TARGET, QuestionTask
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.subjects import MMLU


@dataclass(frozen=True, eq=False)
class MadeTask:
    """A task, in capgate's form and in Inspect's.

    Attributes:
        asked: Who is asked what.
        made: Inspect's task for it.
    """

    asked: QuestionTask
    made: Task


def inspect_task(task: QuestionTask, benchmark: Benchmark, *, direct: bool) -> MadeTask:
    """Makes the task that asks a target's questions; its log says which target, and why.

    Args:
        task: What to ask.
        benchmark: What is asked.
        direct: Whether it is for the direct runner.
    """
    make = benchmark.direct_task if direct else benchmark.task
    made = make(task.questions, shard=task.name)
    about = {TARGET: task.target, LOOK: task.look}
    if benchmark.name != MMLU:
        if not made.name.startswith(benchmark.name):
            # Logs of two benchmarks lie in one folder, and both may have a part of one name.
            made = task_with(made, name=f"{benchmark.name}_{task.name}")
        about[BENCHMARK] = benchmark.name
    made.metadata = {**(made.metadata or {}), **{key: it for key, it in about.items() if it}}
    return MadeTask(task, made)
