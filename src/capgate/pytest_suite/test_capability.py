"""The suite: has a model lost general capability?

    pytest --pyargs capgate.pytest_suite -m quick   # a verdict as early as the evidence allows
    pytest --pyargs capgate.pytest_suite -m full    # the whole benchmark, subject by subject

A project's own test file takes over these tests, so that their ids begin with its path:

    from capgate.pytest_suite.test_capability import *
"""

import pytest

from capgate.pytest_suite.fixture import Bench

__all__ = ["test_preflight", "test_quick", "test_subject", "test_suite"]


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
def test_quick(capgate: Bench, target: str) -> None:
    """A growing random sample over all subjects shows no loss."""
    capgate.quick(target)


@pytest.mark.full
def test_subject(capgate: Bench, target: str, subject: str) -> None:
    """One subject by itself shows no loss."""
    capgate.subject(target, subject)


@pytest.mark.full
def test_suite(capgate: Bench, target: str) -> None:
    """All subjects together show no loss."""
    capgate.suite(target)
