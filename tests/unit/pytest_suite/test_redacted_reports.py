"""What pytest shows of a test of the benchmark holds nothing secret, in whatever form it failed."""

from __future__ import annotations

from typing import Any

import pytest

from capgate.common.redact import Redactor
from capgate.pytest_suite.redacted_reports import clean

SECRET = "s3cr3t-value"


def report(longrepr: Any = None, **more: Any) -> pytest.TestReport:  # noqa: ANN401
    """A test's report."""
    made = pytest.TestReport("t.py::t", ("t.py", 1, "t"), {}, "failed", longrepr, "call", **more)
    clean(made, Redactor([SECRET]))
    return made


def raised(said: str) -> Any:  # noqa: ANN401
    """How pytest words an exception."""
    try:
        raise ValueError(said)
    except ValueError:
        return pytest.ExceptionInfo.from_current().getrepr(showlocals=True)


@pytest.mark.parametrize(
    "longrepr", [f"lost {SECRET}", ("t.py", 1, f"skipped: {SECRET}"), raised(f"it was {SECRET}")]
)
def test_a_failure_s_text(longrepr: object) -> None:
    """A verdict, a reason to skip, a traceback with locals."""
    shown = str(report(longrepr).longrepr)
    assert "[redacted]" in shown
    assert SECRET not in shown


def test_a_traceback_without_secrets_keeps_its_form() -> None:
    """So it is shown in colours, and by the names of files."""
    longrepr = raised("nothing")
    assert report(longrepr).longrepr is longrepr


def test_what_was_captured_and_noted() -> None:
    """Output, and properties for JUnit; captured log lines are left out."""
    sections = [("Captured stdout call", f"a {SECRET} ##[error]"), ("Captured log call", "b")]
    made = report(sections=sections, user_properties=[("capgate_reference", {"x": SECRET})])
    assert made.sections == [("Captured stdout call", r"a [redacted] \x23#[error]")]
    assert made.user_properties == [("capgate_reference", {"x": "[redacted]"})]
