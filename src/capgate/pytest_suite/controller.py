"""What the controller of a session does besides: it ends the run and sets the exit code.

A session without workers is its own controller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest

from capgate.common import exit_codes
from capgate.common.errors import CapgateError
from capgate.common.signals import interrupt_on_termination
from capgate.pytest_suite.broker import Calls
from capgate.pytest_suite.exit_code import Outcomes
from capgate.pytest_suite.markers import without_deprecations
from capgate.pytest_suite.session import Session
from capgate.pytest_suite.shared import Shared
from capgate.report.write import load_ahead, write_results
from capgate.run.reask import reask_red


class Controller:
    """The controller of a session.

    Args:
        session: This process's part in the session.

    Attributes:
        session: The same.
        outcomes: How the tests ended.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        assert isinstance(session.shared, Shared)
        self._shared = session.shared
        self._targets: Mapping[str, str] = {}
        self._workers_fault: str | None = None
        self._summary: list[str] = []
        self._restore_signals: Callable[[], None] | None = None
        self.outcomes = Outcomes(lambda nodeid: self.target_of(nodeid) is not None)

    def calls(self) -> Calls:
        """Returns the functions that workers call."""
        return {**self._shared.calls(), "collected": self._collected, "fault": self._fault}

    def _collected(self, targets: Mapping[str, str]) -> None:
        self._targets = targets

    def _fault(self, fault: str) -> None:
        self._workers_fault = self._workers_fault or fault

    @property
    def is_needed(self) -> bool:
        """Whether workers have collected tests of capgate's, or would have without a fault."""
        return bool(self._targets) or self._workers_fault is not None

    def target_of(self, nodeid: str) -> str | None:
        """Returns the target of a test that workers have collected; None if it is not capgate's."""
        return self._targets.get(nodeid)

    def begin(self) -> None:
        """Has SIGTERM end the run's servers in order; to be called in the main thread."""
        if self._restore_signals is None:
            self._restore_signals = interrupt_on_termination(lambda: self._shared.has_servers)
            if self._targets:
                load_ahead()

    def finish(self, session: pytest.Session) -> None:
        """Ends the servers, writes the results and sets the exit code."""
        if self.session.fault is not None or self._workers_fault is not None:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            return
        with without_deprecations():
            self._write(session)
        session.exitstatus = self.outcomes.code(session.exitstatus)

    def _write(self, session: pytest.Session) -> None:
        has_news = self.outcomes.has_news
        if has_news and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            # While the servers are still there; `write_results` tells of a fault of the store.
            for run in self.session.runs:
                with suppress(CapgateError):
                    reask_red(run)
        self._shared.close()
        if not has_news and not self.session.has_stored:
            return
        complete = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        try:
            self._summary = write_results(self.session.run, complete=complete)
        except CapgateError as error:
            self._summary = [self.session.terminal.fit(f"ERROR: {error}")]
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = exit_codes.ERROR

    def summarize(self, terminal: pytest.TerminalReporter) -> None:
        """Shows what the run found."""
        if self._workers_fault is not None:
            terminal.write_sep("=", "capgate", red=True)
            terminal.write_line(f"ERROR: {self._workers_fault}")
        if self._summary:
            terminal.write_sep("=", "capgate")
            for line in self._summary:
                terminal.write_line(line)

    def close(self) -> None:
        """Ends what the session has started."""
        self.session.close()
        if self._restore_signals is not None:
            self._restore_signals()
