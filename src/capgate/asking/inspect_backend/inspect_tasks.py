"""Inspect's task for a target's questions."""

from __future__ import annotations

from inspect_ai import Task

from capgate.asking.outcome import LOOK, TARGET, QuestionTask
from capgate.benchmarks.benchmark import Benchmark


def inspect_task(task: QuestionTask, benchmark: Benchmark) -> Task:
    """Makes the task that asks a target's questions; its log says which target, and why.

    Args:
        task: What to ask.
        benchmark: What is asked.
    """
    made = benchmark.task(task.questions, shard=task.name)
    about = {TARGET: task.target, LOOK: task.look}
    made.metadata = {**(made.metadata or {}), **{key: it for key, it in about.items() if it}}
    return made
