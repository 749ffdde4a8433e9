"""The hooks of each process that runs tests of capgate's; in any other session none is there."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from capgate.config.secrets import project_redactor
from capgate.pytest_suite.choosing import is_ours
from capgate.pytest_suite.fixture import JUDGEMENT
from capgate.pytest_suite.redacted_reports import clean, put_verdict_first
from capgate.pytest_suite.session import Session


class RunnerHooks:
    """The hooks of each process that runs tests.

    Args:
        session: The process's part in the session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Takes secrets out of a test's report (`pytest_runtest_makereport`)."""
        report = yield
        if is_ours(item):
            put_verdict_first(report, item.stash.get(JUDGEMENT, None))
            clean(report, project_redactor(self._session.settings))
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Cancels what no test will ask for (`pytest_sessionfinish`): after `-x` or Ctrl-C."""
        self._session.stop_asking()

    @pytest.hookimpl(optionalhook=True)
    def pytest_json_runtest_metadata(self, item: pytest.Item) -> dict[str, Any]:
        """Puts the verdict into the test's metadata (pytest-json-report)."""
        judgement = item.stash.get(JUDGEMENT, None)
        return {} if judgement is None else {"capgate": judgement}
