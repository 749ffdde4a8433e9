"""The benchmarks of a project, made from their entries and a run's options."""

from __future__ import annotations

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.make import make_benchmark
from capgate.common.errors import ConfigError
from capgate.config.benchmarks_file import load_benchmarks
from capgate.config.settings import Settings


def chosen_benchmark(settings: Settings, name: str, dataset: str | None = None) -> Benchmark:
    """Returns the benchmark of a name, as a run with these settings asks it.

    Args:
        settings: The run's settings.
        name: The benchmark's name.
        dataset: Where a target's questions come from, where the settings name nothing else.

    Raises:
        ConfigError: There is none of that name, or its entry or an option that it has is wrong.
    """
    return _made(settings, name, settings.task, settings.max_tokens, settings.dataset or dataset)


def recorded_benchmark(settings: Settings, name: str, task: str, max_tokens: int) -> Benchmark:
    """Returns the benchmark of a name, as an earlier run has asked it.

    Args:
        settings: Where the project's files are.
        name: The benchmark's name.
        task: The task that the run recorded.
        max_tokens: The most tokens of an answer in that run.

    Raises:
        ConfigError: There is none of that name, or it is of another task now.
    """
    made = _made(settings, name, task, max_tokens, settings.dataset)
    if made.task_name != task:
        raise ConfigError(
            f"{name} was {task} when it was recorded, and is {made.task_name} now",
            remedy="give the new task a name of its own in config/benchmarks.yaml",
        )
    return made


def _made(
    settings: Settings, name: str, task: str, max_tokens: int, dataset: str | None
) -> Benchmark:
    return make_benchmark(
        name,
        load_benchmarks(settings.root).entry_of(name),
        task=task,
        max_tokens=max_tokens,
        root=settings.root,
        dataset=dataset,
    )
