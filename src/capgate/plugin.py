"""The pytest plugin: hooks only, each thin; what they do lives in `capgate.pytest_suite.host`.

Without a test that uses the `capgate` fixture it adds its options and does nothing else.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from capgate.pytest_suite.fixture import Bench
    from capgate.pytest_suite.host import Host

HOST = pytest.StashKey["Host"]()


class _Reports:
    """The hooks that are called without a `config` to find the host by."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes each test's verdict (`pytest_runtest_logreport`)."""
        self._host.note(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_json_modifyreport(self, json_report: dict[str, Any]) -> None:
        """Takes secrets and home folders out of the report (pytest-json-report)."""
        from capgate.config.secrets import redactor_for

        redactor = redactor_for(lambda: self._host.settings)
        for key in list(json_report):
            json_report[key] = redactor.data(json_report[key])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds capgate's options (`pytest_addoption`)."""
    from capgate.config.settings import OPTIONS

    group = parser.getgroup("capgate", "capgate: capability of fine-tuned models")
    for option in OPTIONS:
        group.addoption(option.flag, dest=option.dest, **option.keywords)


def pytest_configure(config: pytest.Config) -> None:
    """Registers markers and makes this process's part of the run (`pytest_configure`)."""
    from capgate.pytest_suite.host import FILTERS, MARKERS, Host

    for line in MARKERS:
        config.addinivalue_line("markers", line)
    for line in FILTERS:
        config.addinivalue_line("filterwarnings", line)
    host = config.stash[HOST] = Host(config)
    config.pluginmanager.register(_Reports(host), "capgate-reports")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends what the run started, whatever ended the run (`pytest_unconfigure`)."""
    host = config.stash.get(HOST, None)
    if host is not None:
        host.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 (xdist has no types)
    """Tells a worker where its controller is (`pytest_configure_node` of pytest-xdist)."""
    node.workerinput["capgate"] = node.config.stash[HOST].for_worker()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ANN401, ARG001
    """Takes over what a worker found wrong (`pytest_testnodedown` of pytest-xdist)."""
    node.config.stash[HOST].from_worker(getattr(node, "workeroutput", None) or {})


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:  # noqa: ANN401
    """Shares tests out by target (`pytest_xdist_make_scheduler` of pytest-xdist)."""
    return config.stash[HOST].scheduler(log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes one test for each target and subject (`pytest_generate_tests`)."""
    if "capgate" in metafunc.fixturenames:
        metafunc.config.stash[HOST].parametrize(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders the run; stops it where its options are wrong (`pytest_collection_modifyitems`)."""
    config.stash[HOST].arrange(items)


def pytest_report_collectionfinish(config: pytest.Config) -> str | list[str]:
    """Tells which kind of run it is (`pytest_report_collectionfinish`)."""
    return config.stash[HOST].choice or []


@pytest.fixture
def capgate(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The run, as a test of the benchmark uses it."""
    with request.config.stash[HOST].bench(request.node) as bench:
        yield bench


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Takes secrets out of a test's report (`pytest_runtest_makereport`)."""
    report = yield
    if "capgate" in getattr(item, "fixturenames", ()):
        from capgate.config.secrets import project_redactor
        from capgate.pytest_suite.fixture import JUDGEMENT
        from capgate.pytest_suite.redacted_reports import clean, put_verdict_first

        put_verdict_first(report, item.stash.get(JUDGEMENT, None))
        clean(report, project_redactor(item.config.stash[HOST].settings))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, str] | None:
    """Has a test's line say its verdict (`pytest_report_teststatus`): a word where it passed."""
    verdict = dict(getattr(report, "user_properties", ())).get("capgate_verdict")
    if not verdict:
        return None
    if report.failed:
        return "failed", "F", f"FAILED {verdict}"
    if report.when != "call" or not report.passed:
        return None
    from capgate.gate.verdict import GROUP_KINDS

    return ("passed", ".", f"PASSED {verdict}") if verdict in GROUP_KINDS else None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the results and sets the exit code (`pytest_sessionfinish`)."""
    session.config.stash[HOST].finish(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the tables and verdicts (`pytest_terminal_summary`)."""
    terminalreporter.config.stash[HOST].summarize(terminalreporter)


@pytest.hookimpl(optionalhook=True)
def pytest_json_runtest_metadata(item: pytest.Item) -> dict[str, Any]:
    """Puts the verdict into the test's metadata (pytest-json-report)."""
    from capgate.pytest_suite.fixture import JUDGEMENT

    judgement = item.stash.get(JUDGEMENT, None)
    return {} if judgement is None else {"capgate": judgement}
