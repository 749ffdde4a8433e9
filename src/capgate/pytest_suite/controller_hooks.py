"""The controller's hooks in a session that has tests of capgate's; in any other none is there."""

from __future__ import annotations

from typing import Any

import pytest

from capgate.config.secrets import redactor_for
from capgate.gate.verdict import GROUP_KINDS
from capgate.pytest_suite.controller import Controller
from capgate.pytest_suite.exit_code import properties_of


class ControllerHooks:
    """The hooks of the controller, and of a session without workers.

    Args:
        controller: What they call.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def pytest_report_collectionfinish(self) -> str | list[str]:
        """Tells which kind of run it is (`pytest_report_collectionfinish`)."""
        return self._controller.session.choice or []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes each test's verdict (`pytest_runtest_logreport`)."""
        self._controller.outcomes.note(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, str] | None:
        """Has a test's line say its verdict (`pytest_report_teststatus`): a word if it passed."""
        properties = properties_of(report)
        verdict = properties.get("capgate_verdict")
        if not verdict:
            return None
        if report.failed:
            return "failed", "F", f"FAILED {verdict}"
        if report.when == "call" and properties.get("capgate_advisory"):
            return "passed", ".", f"PASSED {verdict} (advisory)"
        if report.when != "call" or not report.passed or verdict not in GROUP_KINDS:
            return None
        return "passed", ".", f"PASSED {verdict}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Writes the results and sets the exit code (`pytest_sessionfinish`)."""
        self._controller.finish(session)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Shows the tables and verdicts (`pytest_terminal_summary`)."""
        self._controller.summarize(terminalreporter)

    @pytest.hookimpl(optionalhook=True)
    def pytest_json_modifyreport(self, json_report: dict[str, Any]) -> None:
        """Takes secrets and home folders out of the report (pytest-json-report)."""
        redactor = redactor_for(lambda: self._controller.session.settings)
        for key in list(json_report):
            json_report[key] = redactor.data(json_report[key])
