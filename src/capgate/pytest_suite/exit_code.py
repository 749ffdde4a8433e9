"""The exit code of a session that has capgate's tests.

0: every test passed. 1: a regression, or any failure of a test that is not capgate's.
10: INCONCLUSIVE. 11: ERROR; a test of capgate's without a verdict, or with a crashed worker,
says nothing of the model. 1 wins over 11, and 11 over 10. pytest's other codes stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from capgate.common import exit_codes

OURS: Final = "capgate_test"
"""The property of a report that tells a test of capgate's from any other, however it ended."""

CODES: Final = {"INCONCLUSIVE": exit_codes.INCONCLUSIVE, "ERROR": exit_codes.ERROR}
"""Verdict to the exit code that takes the place of pytest's 1."""


class Outcomes:
    """How a session's tests ended.

    Args:
        is_ours: Whether a node id is that of a test of capgate's.
    """

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        self._is_ours = is_ours
        self._failed: set[str] = set()
        self.has_news = False
        """Whether a test has asked something of a target."""

    def note(self, report: pytest.TestReport) -> None:
        """Notes one report."""
        if report.when != "call" and report.outcome != "failed":
            return
        properties = properties_of(report)
        self.has_news = self.has_news or "capgate_target" in properties
        if report.outcome == "failed":
            # The report of a crash is pytest-xdist's own and has no properties.
            ours = OURS in properties or self._is_ours(report.nodeid)
            without = "ERROR" if ours else ""
            self._failed.add(str(properties.get("capgate_verdict", without)))

    def code(self, status: int) -> int:
        """Returns the exit code.

        Args:
            status: The one that pytest has found.
        """
        if status != pytest.ExitCode.TESTS_FAILED or not self._failed:
            return status
        if not self._failed <= set(CODES):
            return status
        return max(CODES[kind] for kind in self._failed)


def properties_of(report: pytest.CollectReport | pytest.TestReport) -> dict[str, object]:
    """Returns the properties that tests of capgate's have given a report."""
    return {
        name: value
        for name, value in getattr(report, "user_properties", ())
        if str(name).startswith("capgate_")
    }
