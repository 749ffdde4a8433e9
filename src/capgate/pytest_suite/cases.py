"""The tests that a function stands for: one for each target, and each benchmark and group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import pytest

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, DOMAINS, MMLU
from capgate.common.errors import CapgateError
from capgate.run.run import Run
from capgate.run.runs import Runs

BENCHMARK: Final = "benchmark_name"
"""The argument that is a benchmark's name; `benchmark` is pytest-benchmark's."""

_TAKEN: Final = frozenset(
    {"skip", "skipif", "xfail", "parametrize", "usefixtures", "filterwarnings", "tryfirst"}
    | {"trylast", "quick", "full", *DOMAINS, "and", "or", "not", "None", "True", "False"}
)
"""Markers with a meaning of their own, and words of `-m`; such a benchmark has no marker."""


def has_no_cases(name: str, runs: Runs) -> bool:
    """Whether a function of the shipped suite stands for no test in this run.

    Args:
        name: The function's name.
        runs: The run.
    """
    if name == "test_subject":
        return MMLU not in runs.names
    return name == "test_group" and not runs.several


def parametrize(metafunc: pytest.Metafunc, runs: Runs, targets: Sequence[str]) -> None:
    """Makes the tests of a function that uses capgate's fixture.

    Args:
        metafunc: pytest's view of the function.
        runs: The run.
        targets: The targets that it judges.
    """
    names = set(metafunc.fixturenames)
    if "subject" in names:
        metafunc.parametrize(("target", "subject"), list(_subjects(runs, targets)))
    elif "group" in names:
        cases = [case for run in runs for case in _groups(metafunc, run, targets)]
        metafunc.parametrize(("target", BENCHMARK, "group"), cases)
    elif BENCHMARK in names:
        metafunc.parametrize(("target", BENCHMARK), list(_quick(metafunc, runs, targets)))
    elif "target" in names:
        marks = []
        if runs.several and metafunc.function.__name__ == "test_preflight":
            marks = [mark for name in runs.names for mark in _marks(metafunc, name)]
        metafunc.parametrize("target", [pytest.param(one, marks=marks) for one in targets])


def _subjects(runs: Runs, targets: Sequence[str]) -> Iterator[Any]:
    if MMLU not in runs.names:
        return
    for target in targets:
        for subject in runs.of(MMLU).settings.subjects:
            marks = [getattr(pytest.mark, DOMAIN_OF[subject])]
            yield pytest.param(target, subject, id=f"{target}-{subject}", marks=marks)


def _groups(metafunc: pytest.Metafunc, run: Run, targets: Sequence[str]) -> Iterator[Any]:
    """A benchmark's groups, and then the whole of it; MMLU's have tests of their own."""
    groups = () if run.name == MMLU else _known_groups(run)
    for target in targets:
        for group in (*groups, ""):
            name = "-".join(filter(None, (target, run.name, group)))
            yield pytest.param(target, run.name, group, id=name, marks=_marks(metafunc, run.name))


def _known_groups(run: Run) -> Sequence[str]:
    """A benchmark's groups, where these are known while tests are collected."""
    # The preflight tells what is wrong with the questions.
    with suppress(CapgateError):
        return run.benchmark.listed_groups
    return ()


def _quick(metafunc: pytest.Metafunc, runs: Runs, targets: Sequence[str]) -> Iterator[Any]:
    """A quick run of each benchmark, and the verdict over all; only that for MMLU alone."""
    for target in targets:
        for name in runs.names if runs.several else ():
            marks = _marks(metafunc, name)
            yield pytest.param(target, name, id=f"{target}-{name}", marks=marks)
        yield pytest.param(target, "", id=target)


def _marks(metafunc: pytest.Metafunc, benchmark: str) -> list[pytest.MarkDecorator]:
    """The marker of a benchmark's name, registered; none where `-m` can't have it."""
    if benchmark in _TAKEN:
        return []
    line = f"{benchmark}: the benchmark of this name"
    if line not in metafunc.config.getini("markers"):
        metafunc.config.addinivalue_line("markers", line)
    return [getattr(pytest.mark, benchmark)]
