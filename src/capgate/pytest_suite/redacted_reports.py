"""What pytest and its plugins show and keep of a test of the benchmark, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from capgate.common.redact import Redactor
from capgate.common.text import harmless, one_line


def put_verdict_first(report: pytest.TestReport, judgement: Mapping[str, Any] | None) -> None:
    """Makes the verdict and its first reason what pytest's summary and JUnit say of a failed test.

    Args:
        report: The report; changed in place.
        judgement: The test's judgement (`Judgement.facts`), where it has one.
    """
    verdict = (judgement or {}).get("verdict")
    crash = getattr(report.longrepr, "reprcrash", None)
    if verdict and crash is not None and report.failed:
        said = "; ".join(verdict["reasons"][:1])
        crash.message = f"{verdict['kind']}: {one_line(said, limit=300)}"


def clean(report: pytest.TestReport, redactor: Redactor) -> None:
    """Makes a test's report fit for the terminal, JUnit files and other plugins.

    Args:
        report: The report; changed in place.
        redactor: Knows the project's secrets.
    """

    def fit(text: str) -> str:
        return harmless(redactor.text(text))

    # One log line for each question that failed; the verdict says it in one for all.
    report.sections = [
        (name, fit(text)) for name, text in report.sections if "Captured log" not in name
    ]
    report.user_properties = [(name, redactor.data(one)) for name, one in report.user_properties]
    if isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, fit(reason))
    elif report.longrepr is not None:
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            crash.message = fit(crash.message)
        # A traceback in pytest's colours is kept as it is, unless something secret stands in it.
        shown = str(report.longrepr)
        if fit(shown) != shown:
            report.longrepr = fit(shown)
