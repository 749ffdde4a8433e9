"""The suite: has a model lost general capability?

    pytest --pyargs capgate.pytest_suite -m quick   # a verdict as early as the evidence allows
    pytest --pyargs capgate.pytest_suite -m full    # the whole benchmark, subject by subject

With `--benchmark` or `--suite` these are the tests of several benchmarks; the bare `test_quick` and
`test_suite` are the verdict over all.

A project's own test file takes over these tests, so that their ids begin with its path:

    from capgate.pytest_suite.test_capability import *
"""

import pytest

from capgate.pytest_suite.fixture import Bench

__all__ = ["test_group", "test_preflight", "test_quick", "test_subject", "test_suite"]


@pytest.mark.quick
@pytest.mark.full
@pytest.mark.stem
@pytest.mark.humanities
@pytest.mark.social_sciences
@pytest.mark.other
def test_preflight(capgate: Bench, target: str) -> None:
    """The target is reachable, accepts the key, serves the model and answers in form."""
    capgate.preflight(target)


@pytest.mark.quick
def test_quick(capgate: Bench, target: str, benchmark_name: str) -> None:
    """A growing random sample shows no loss; without a benchmark, over all benchmarks."""
    capgate.quick(target, benchmark_name)


@pytest.mark.full
def test_subject(capgate: Bench, target: str, subject: str) -> None:
    """One subject by itself shows no loss."""
    capgate.subject(target, subject)


@pytest.mark.full
def test_group(capgate: Bench, target: str, benchmark_name: str, group: str) -> None:
    """One group of a benchmark, or without a group the whole of it, shows no loss."""
    capgate.group(target, benchmark_name, group)


@pytest.mark.full
def test_suite(capgate: Bench, target: str) -> None:
    """All benchmarks together show no loss: all subjects, where MMLU is the only one."""
    capgate.suite(target)
