"""What is made once for all workers is made once, whichever worker asks for it first."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Project

# As Python 3.12 has it, without a lock; who comes first waits a moment for another to come.
WITHOUT_LOCK = """
import functools, threading

meeting = threading.Barrier(2)

class cached_property:
    __module__ = "functools"  # by which pydantic knows it
    def __init__(self, func):
        self.func, self.__doc__ = func, func.__doc__
    def __set_name__(self, owner, name):
        self.name = name
    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        if self.name not in instance.__dict__:
            if type(instance).__module__ == "capgate.pytest_suite.host":
                try:
                    meeting.wait(0.2)
                except threading.BrokenBarrierError:
                    meeting.reset()
            instance.__dict__[self.name] = self.func(instance)
        return instance.__dict__[self.name]

functools.cached_property = cached_property
"""


@pytest.mark.slow
def test_workers_that_come_together_find_one_server(
    project: Project, server: Server, tmp_path: Path
) -> None:
    """Two workers that ask for a server at the same moment have it looked up once."""
    project.serve(server)
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_LOCK, encoding="utf-8")
    outcome = project.full("-n", "2", "-k", "test_subject", PYTHONPATH=str(tmp_path))
    assert outcome.counts.get("passed") == 2, outcome.text
    assert sum(asked.path == "/v1/models" for asked in server.asked) == 1
