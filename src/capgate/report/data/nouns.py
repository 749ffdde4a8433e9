"""How groups, benchmarks and a target's part in one are named for people."""

from __future__ import annotations

from typing import Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.text import one_line
from capgate.report.data.result import Report

_NAME: Final = 80
"""Characters of a benchmark's or group's name that are shown."""


def name_words(name: str) -> str:
    """A group's or parent's name as people write it, on one harmless line."""
    return "STEM" if name == "stem" else one_line(name.replace("_", " "), limit=_NAME)


def benchmark_name(name: str) -> str:
    """A benchmark's name as its entry has it, on one harmless line."""
    return one_line(name, limit=_NAME)


def is_mmlu_alone(report: Report) -> bool:
    """Whether a run asked MMLU and nothing else, so that no form needs to name the benchmark."""
    return report.benchmark == MMLU and not report.benchmarks


def part_name(report: Report, benchmark: str, target: str) -> str:
    """A target's part in one benchmark, such as `mine on gsm8k`; of MMLU alone its id."""
    if is_mmlu_alone(report):
        return target
    return f"{target} on {benchmark_name(benchmark)}"
