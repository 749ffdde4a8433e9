"""What a task must be for capgate's verdicts to hold, and what weakens them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from capgate.benchmarks.inspect_task.dry_run import scorer_names
from capgate.benchmarks.inspect_task.source import TaskSource
from capgate.common.errors import ConfigError

if TYPE_CHECKING:
    from inspect_ai import Task

_GRADED: Final = ("model_graded_qa", "model_graded_fact")
"""Inspect's scorers that ask a model for a grade."""


def check_task(task: Task, benchmark: str, *, once: bool) -> None:
    """Makes sure that a task's answers can be judged.

    Args:
        task: The task.
        benchmark: The entry's name.
        once: Whether the entry says that each question is asked once.

    Raises:
        ConfigError: It can't be judged; the message tells what to change.
    """
    if task.sample_source is not None:
        raise ConfigError(
            f"the task of {benchmark} makes its questions while it runs, so two models can't be "
            "asked the same ones",
            remedy="give it a dataset",
        )
    if not task.scorer:
        raise ConfigError(f"the task of {benchmark} has no scorer", remedy="give it one")
    if task.epochs not in (None, 1) and not once:
        raise ConfigError(
            f"the task of {benchmark} asks each question {task.epochs} times; capgate pairs one "
            "answer of each side",
            remedy=f"add `epochs: 1` to the entry {benchmark}, so that each question is asked once",
        )
    if task.model_roles:
        raise asks_model(benchmark, f"task (model role {next(iter(task.model_roles))})")
    for name in scorer_names(task):
        if name.rstrip("0123456789") in _GRADED:
            raise asks_model(benchmark, f"scorer {name}")


def asks_model(benchmark: str, part: str) -> ConfigError:
    """The error for a task that asks another model, or the same one again, for a grade.

    Args:
        benchmark: The entry's name.
        part: What asks, such as `scorer mine`.
    """
    return ConfigError(
        f"the {part} of {benchmark} asks a model by itself; a verdict would depend on that "
        "model's answers as well, and they are in no proof of what was compared",
        remedy="use a scorer that reads the answer without a model, or judge that benchmark "
        "elsewhere",
    )


def notes_on(task: Task, source: TaskSource, *, once: bool) -> Iterator[str]:
    """What weakens the comparison of a task's answers, as clauses.

    Args:
        task: The task.
        source: Where it comes from.
        once: Whether the entry says that each question is asked once.
    """
    if task.epochs not in (None, 1) and once:
        yield f"its task asks each question {task.epochs} times, capgate once"
    location = task.dataset.location
    if not source.is_upstreams and location and not Path(location).exists():
        yield (
            f"its data ({location}) may change: capgate pairs questions by their content, so "
            "changed ones are asked anew and have no pair in older answers"
        )
