"""Which exit code a session with tests of capgate's ends with."""

from __future__ import annotations

import pytest

from capgate.pytest_suite.exit_code import OURS, Outcomes

PASSED, FAILED = "passed", "failed"
CRASHED = "benchmarks/test_mmlu.py::test_suite[mine]"


def report(
    outcome: str, *properties: tuple[str, str], when: str = "call", nodeid: str = "t.py::t"
) -> pytest.TestReport:
    """A test's report."""
    return pytest.TestReport(
        nodeid,
        ("t.py", 1, "t"),
        {},
        outcome,  # type: ignore[arg-type]
        None,
        when,  # type: ignore[arg-type]
        user_properties=list(properties),
    )


def ours(verdict: str | None, outcome: str = FAILED, when: str = "call") -> pytest.TestReport:
    """The report of a test of capgate's."""
    said = [] if verdict is None else [("capgate_verdict", verdict), ("capgate_target", "mine")]
    return report(outcome, (OURS, "test_suite"), *said, when=when)


def theirs(outcome: str = FAILED) -> pytest.TestReport:
    """The report of any other test."""
    return report(outcome, ("colour", "red"))


def crashed(nodeid: str) -> pytest.TestReport:
    """What pytest-xdist reports of a test whose worker has crashed."""
    return report(FAILED, when="???", nodeid=nodeid)


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([theirs()], 1),
        ([crashed("t.py::theirs")], 1),
        ([ours("REGRESSION")], 1),
        ([ours("INCONCLUSIVE")], 10),
        ([ours("ERROR")], 11),
        ([ours(None)], 11),
        ([ours(None, when="setup")], 11),
        ([crashed(CRASHED)], 11),
        ([ours("INCONCLUSIVE"), ours("ERROR"), ours("PASS", PASSED), theirs(PASSED)], 11),
        ([ours("INCONCLUSIVE"), ours("REGRESSION")], 1),
        ([ours("ERROR"), theirs()], 1),
        ([ours("INCONCLUSIVE"), crashed("t.py::theirs")], 1),
    ],
)
def test_the_code_of_failed_tests(reports: list[pytest.TestReport], code: int) -> None:
    """A regression or a failure of the project's own is 1; otherwise the verdicts' codes."""
    outcomes = Outcomes(lambda nodeid: nodeid == CRASHED)
    for one in reports:
        outcomes.note(one)
    assert outcomes.code(pytest.ExitCode.TESTS_FAILED) == code


@pytest.mark.parametrize("status", [code for code in pytest.ExitCode if code != 1])
def test_other_codes_of_pytest_stay(status: pytest.ExitCode) -> None:
    """An interrupted session, a wrong option, a session without tests."""
    outcomes = Outcomes(lambda _: False)
    outcomes.note(ours("ERROR"))
    assert outcomes.code(status) == status


def test_a_session_has_news_once_a_target_was_asked() -> None:
    """A test that was skipped in its setup asks nothing."""
    outcomes = Outcomes(lambda _: False)
    outcomes.note(report("skipped", ("capgate_target", "mine"), when="setup"))
    outcomes.note(theirs())
    assert not outcomes.has_news
    outcomes.note(ours("PASS", PASSED))
    assert outcomes.has_news
