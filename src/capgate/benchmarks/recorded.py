"""What a run records of a benchmark for its reports, and what it need not record."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, MMLU
from capgate.common.nouns import GROUPS, SUBJECTS, Nouns

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def known_parents(benchmark: str) -> Mapping[str, str]:
    """Group to the parent that it belongs to; empty where only the run itself can tell.

    Args:
        benchmark: The benchmark's name.
    """
    return DOMAIN_OF if benchmark == MMLU else _NONE


def facts_of(benchmark: Benchmark) -> dict[str, Any]:
    """What a target's entry holds of its benchmark, under one key; nothing of MMLU.

    Returns:
        `benchmark` to plain values: the `task`, each group's parent (`parents`), the choices'
        `letters`, and whether it is `advisory`.
    """
    if benchmark.name == MMLU:
        return {}
    return {
        "benchmark": {
            "task": benchmark.task_name,
            "parents": dict(benchmark.parents),
            "letters": benchmark.letters,
            "advisory": benchmark.advisory,
        }
    }


def nouns_of(benchmark: str) -> Nouns:
    """What the groups of a benchmark are called."""
    return SUBJECTS if benchmark == MMLU else GROUPS
