"""The benchmarks of a project, made from their entries and a run's options."""

from __future__ import annotations

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.make import make_benchmark
from capgate.config.benchmarks_file import load_benchmarks
from capgate.config.settings import Settings


def chosen_benchmark(settings: Settings, name: str) -> Benchmark:
    """Returns the benchmark of a name, as a run with these settings asks it.

    Raises:
        ConfigError: There is none of that name, or its entry or an option that it has is wrong.
    """
    return make_benchmark(
        name,
        load_benchmarks(settings.root).entry_of(name),
        task=settings.task,
        max_tokens=settings.max_tokens,
        root=settings.root,
    )
