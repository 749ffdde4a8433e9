"""What the plugin's hooks do: one `Host` in the controller and one in each worker.

The controller owns what may exist only once: the run's id, the servers, the reports and
the exit code. A worker gets the run's id and the broker's address through `workerinput`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pytest

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, DOMAINS
from capgate.common import exit_codes
from capgate.common.errors import CapgateError
from capgate.common.signals import interrupt_on_termination
from capgate.common.text import harmless
from capgate.config.settings import Settings
from capgate.pytest_suite.choosing import asked_for, choose

if TYPE_CHECKING:
    from capgate.asking.cost_limit import CostLimit, Grant
    from capgate.asking.progress import Progress, Tally
    from capgate.pytest_suite.broker import Broker, BrokerClient
    from capgate.pytest_suite.fixture import Bench
    from capgate.run.judgement import Mode
    from capgate.run.run import Run
    from capgate.serving.endpoint import Endpoint
    from capgate.serving.lost import Losses
    from capgate.serving.servers import Servers

MARKERS: Final = (
    "quick: a verdict from a growing random sample over all subjects",
    "full: the whole benchmark, subject by subject",
    *(f"{domain}: the subjects of this domain" for domain in DOMAINS),
)

FILTERS: Final = (
    # Of libraries that the evaluation calls; a user of capgate can do nothing about them.
    r"ignore:The 'initial' parameter is deprecated:DeprecationWarning:inspect_ai.*",
    r"ignore:.*__get_validators__.*is deprecated:DeprecationWarning:pydantic.*",
    r"ignore:path is deprecated:DeprecationWarning:inspect_evals.*",
)

_EXIT_CODES: Final = {"INCONCLUSIVE": exit_codes.INCONCLUSIVE, "ERROR": exit_codes.ERROR}
_FAULT: Final = "capgate_fault"
_OURS: Final = "capgate_test"
"""The property that tells a report of one of our tests from any other, however it ended."""


class Host:
    """One process's end of a run.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._input: dict[str, Any] | None = getattr(config, "workerinput", {}).get("capgate")
        self._is_worker = hasattr(config, "workerinput")
        self._fault: str | None = None
        self._broker: Broker | None = None
        self._plan: dict[str, set[str]] = {}
        self._modes: dict[str, Mode] = {}
        self._tested: dict[tuple[str, str], None] = {}
        self._preflighted: frozenset[str] = frozenset()
        self._chosen = choose((), "")
        self._kinds: list[tuple[str, bool]] = []
        self._summary: list[str] = []
        self._told: set[str] = set()
        self._making = threading.Lock()
        self._has_news = False
        if not self._is_worker:
            self._put_signals_back = interrupt_on_termination(lambda: "_servers" in self.__dict__)

    # What both controller and worker have.

    @cached_property
    def settings(self) -> Settings:
        """The run's settings.

        Raises:
            ConfigError: An option is wrong.
        """
        # pytest's root is found by its own files; a project of capgate is known by its targets.
        here = self._config.invocation_params.dir
        root = next(
            (path for path in (here, self._config.rootpath) if (path / "config").is_dir()), here
        )
        return Settings.from_options(self._config.option, root)

    @cached_property
    def run(self) -> Run:
        """This process's part in the run."""
        from capgate.asking.progress import Feed
        from capgate.run.run import Run
        from capgate.run.session_tests import SessionTests

        run = Run(
            self.settings,
            self.run_id,
            endpoint=self._endpoint,
            post_mortem=self._post_mortem,
            share=self._share,
            say=self._say,
            tell=self._tell,
            cost_limit=self._cost_limit,
            losses=self._losses,
        )

        def plan(target: str) -> tuple[int, int]:
            subjects = self._plan.get(target, set())
            chosen = run.selection(target).by_subject
            return len(subjects), sum(len(chosen.get(subject, ())) for subject in subjects)

        def counts(target: str, subject: str) -> bool:
            return (target, subject) in self._tested

        run.feed = Feed(self._add_progress, plan, counts)
        run.session = SessionTests(
            mode=self._modes.get,
            planned=self._plan.get,
            following=self._following,
            beside_quick=lambda target: target in self._chosen.beside_quick,
        )
        return run

    @cached_property
    def run_id(self) -> str:
        """The run's id; the controller's in every process."""
        if self._input is not None:
            return str(self._input["run"])
        from capgate.config.chosen_targets import new_run_id

        return new_run_id()

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Gives a test its targets, and its subjects where it takes one."""
        from capgate.config.alerts import alert_urls

        try:
            targets = tuple(self.run.targets) if self._fault is None else ()
            _ = self.run.mmlu_task
            alert_urls(self.settings.root, self.settings.alerts)
        except CapgateError as error:
            self._fault = self._fit(str(error))
            targets = ()
        if "subject" in metafunc.fixturenames:
            metafunc.parametrize(
                ("target", "subject"),
                [
                    pytest.param(
                        target,
                        subject,
                        id=f"{target}-{subject}",
                        marks=getattr(pytest.mark, DOMAIN_OF[subject]),
                    )
                    for target in targets
                    for subject in (self.settings.subjects if targets else ())
                ],
            )
        elif "target" in metafunc.fixturenames:
            metafunc.parametrize("target", targets)

    def arrange(self, items: list[pytest.Item]) -> None:
        """Puts preflights first and suites last; leaves out what would be judged twice.

        Raises:
            pytest.UsageError: The run's options or files are wrong.
        """
        if self._fault is not None:
            items.clear()
            if self._is_worker:
                self._config.workeroutput[_FAULT] = self._fault  # type: ignore[attr-defined]
                return
            raise pytest.UsageError(self._fault)
        chosen = self._chosen = choose(items, asked_for(self._config))
        if chosen.left_out:
            self._config.hook.pytest_deselected(items=list(chosen.left_out))
        if chosen.line and self._is_worker:
            self._tell("choice", chosen.line)
        items[:] = [item for item, _, _ in chosen.kept]
        self._preflighted = frozenset(t for _, name, t in chosen.kept if name == "test_preflight")
        for item, name, target in chosen.kept:
            if not name:
                continue
            item.user_properties.append((_OURS, name))
            subjects = self._plan.setdefault(target, set())
            if name != "test_preflight":
                self._modes[target] = "quick" if name == "test_quick" else "full"
            if name == "test_subject":
                subject = item.callspec.params["subject"]  # type: ignore[attr-defined]
                subjects.add(subject)
                self._tested[target, subject] = None
            elif name == "test_suite":
                subjects.update(self.settings.subjects)

    @property
    def choice(self) -> str:
        """What the choice of tests was; empty where there is nothing to tell."""
        return self._chosen.line

    def _following(self, target: str, subject: str) -> Sequence[str]:
        """The subjects of a target whose tests come after that of `subject`."""
        subjects = [s for t, s in self._tested if t == target]
        return subjects[subjects.index(subject) + 1 :] if subject in subjects else ()

    @contextmanager
    def bench(self, node: pytest.Item) -> Iterator[Bench]:
        """The run, for one test."""
        from capgate.pytest_suite.fixture import Bench

        yield Bench(self.run, node, self._preflighted, self._chosen.whole)

    def close(self) -> None:
        """Ends what this process started."""
        if "run" in self.__dict__:
            self.run.close()
        if self._broker is not None:
            self._broker.close()
            self._broker = None
        if "_servers" in self.__dict__:
            self._servers.close()
        if not self._is_worker:
            self._put_signals_back()

    # The worker's ways to its controller.

    @cached_property
    def _controller(self) -> BrokerClient:
        from capgate.pytest_suite.broker import Address, BrokerClient

        assert self._input is not None
        return BrokerClient(Address(self._input["path"], self._input["key"]))

    def _endpoint(self, target: str) -> Endpoint:
        if self._is_worker:
            endpoint: Endpoint = self._controller.call("endpoint", target)
            return endpoint
        return self._servers.endpoint(target)

    def _post_mortem(self, target: str) -> str:
        if self._is_worker:
            return str(self._controller.call("post_mortem", target))
        return self._servers.post_mortem(target)

    @property
    def _share(self) -> int:
        """Into how many processes a target's connections are divided."""
        # With --dist loadgroup each target has a worker of its own.
        if not self._is_worker or getattr(self._config.option, "loadgroup", False):
            return 1
        return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

    @cached_property
    def _cost_limit(self) -> CostLimit | None:
        from capgate.asking.cost_limit import RunCostLimit

        limit = self.settings.max_cost
        if limit is None:
            return None
        return _WorkerCostLimit(limit, self._controller) if self._is_worker else RunCostLimit(limit)

    @cached_property
    def _losses(self) -> Losses:
        from capgate.serving.lost import ControllersList, LostTargets

        return ControllersList(self._controller.call) if self._is_worker else LostTargets()

    def _open_cost_limit(self) -> CostLimit:
        assert self._cost_limit is not None
        return self._cost_limit

    def _tell(self, topic: str, line: str) -> None:
        if self._is_worker:
            self._controller.call("tell", topic, line)
        elif topic not in self._told:
            self._told.add(topic)
            self._show(line, always=True)

    def _say(self, line: str) -> None:
        if self._is_worker:
            self._controller.call("say", line)
        else:
            self._show(line)

    def _add_progress(self, target: str, subjects: int, questions: int, tally: Tally) -> None:
        if self._is_worker:
            self._controller.call("progress", target, subjects, questions, tally)
        else:
            self._progress.add(target, subjects, questions, tally)

    # The controller.

    def for_worker(self) -> dict[str, str]:
        """What a worker must know, as plain values."""
        if self._broker is None:
            from capgate.pytest_suite.broker import Broker

            self._broker = Broker(
                {
                    "endpoint": lambda target: self._made._servers.endpoint(target),
                    "post_mortem": lambda target: self._made._servers.post_mortem(target),
                    "say": self._show,
                    "tell": self._tell,
                    "lose": lambda *lost: self._made._losses.note(*lost),
                    "lost": lambda target: self._made._losses.fault(target),
                    "reserve": lambda dollars: self._made._open_cost_limit().reserve(dollars),
                    "settle": lambda *sums: self._made._open_cost_limit().settle(*sums),
                    "progress": lambda *news: self._made._progress.add(*news),
                }
            )
        address = self._broker.address
        return {"run": self.run_id, "path": address.path, "key": address.key}

    @property
    def _made(self) -> Host:
        """This host, with all that its workers share made once.

        Each of them asks in a thread of its own, and a cached property has no lock.
        """
        with self._making:
            _ = self.run, self._servers, self._progress, self._cost_limit, self._losses
        return self

    def scheduler(self, log: Any) -> object | None:  # noqa: ANN401 (xdist's)
        """How tests are shared out to workers; None for xdist's own way."""
        from capgate.pytest_suite.scheduler import by_target

        return by_target(self._config, log, lambda: self.run.targets)

    def from_worker(self, output: dict[str, Any]) -> None:
        """Takes over what a worker found wrong."""
        self._fault = self._fault or output.get(_FAULT)

    @cached_property
    def _servers(self) -> Servers:
        from capgate.config.targets import environment
        from capgate.serving.servers import Servers

        return Servers(
            self.run.participants,
            environment(self.settings.root),
            self.run.folder / "logs",
            say=self._show,
            observe_weights=True,
        )

    @cached_property
    def _progress(self) -> Progress:
        from capgate.asking.progress import Progress

        return Progress(self._show)

    def _show(self, line: str, *, always: bool = False) -> None:
        line, terminal = self._fit(line), self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or (self._config.get_verbosity() < 0 and not always):
            return
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is not None and not self._config.pluginmanager.has_plugin("dsession"):
            with capture.global_and_fixture_disabled():
                _write(terminal, line)
        else:
            _write(terminal, line)

    def _fit(self, text: str) -> str:
        """A text as it may be shown: without secrets, and no command to a terminal or log."""
        from capgate.config.secrets import redactor_for

        return harmless(redactor_for(lambda: self.settings).text(text))

    def note(self, report: pytest.TestReport) -> None:
        """Notes how a test ended (controller only)."""
        if self._is_worker or (report.when != "call" and report.outcome != "failed"):
            return
        properties = dict(report.user_properties)
        failed = report.outcome == "failed"
        self._has_news = self._has_news or "capgate_target" in properties
        # A test of ours that fails without a verdict, or whose worker has crashed (xdist then
        # makes its report), says nothing of the model.
        without = "ERROR" if failed and (_OURS in properties or str(report.when) == "???") else ""
        self._kinds.append((str(properties.get("capgate_verdict", without)), failed))

    def finish(self, session: pytest.Session) -> None:
        """Ends the servers, writes the results, and sets the exit code (controller only)."""
        if self._is_worker:
            return
        if self._fault is not None:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            return
        if self._has_news and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            from capgate.run.reask import reask_red

            # While the servers are still there; a fault of the store is told of below.
            with suppress(CapgateError):
                reask_red(self.run)
        if "_servers" in self.__dict__:
            self._servers.close()
        if self._has_news or ("run" in self.__dict__ and "store" in self.run.__dict__):
            from capgate.report.write import write_results

            complete = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
            try:
                self._summary = write_results(self.run, complete=complete)
            except CapgateError as error:
                self._summary = [self._fit(f"ERROR: {error}")]
                if session.exitstatus == pytest.ExitCode.OK:
                    session.exitstatus = _EXIT_CODES["ERROR"]
        if session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            failed = {kind for kind, failed in self._kinds if failed}
            if failed and failed <= set(_EXIT_CODES):
                session.exitstatus = max(_EXIT_CODES[kind] for kind in failed)

    def summarize(self, terminal: pytest.TerminalReporter) -> None:
        """Shows what the run found (controller only)."""
        # Without workers pytest itself tells of a usage error.
        if self._fault is not None and self._broker is not None:
            terminal.write_sep("=", "capgate", red=True)
            terminal.write_line(f"ERROR: {self._fault}")
        if self._summary:
            terminal.write_sep("=", "capgate")
            for line in self._summary:
                terminal.write_line(line)


class _WorkerCostLimit:
    """The controller's cost limit, as a worker reaches it."""

    def __init__(self, limit: float, controller: BrokerClient) -> None:
        self.limit = limit
        self._controller = controller

    def reserve(self, dollars: float) -> Grant:
        """Sets money aside, where there is enough."""
        grant: Grant = self._controller.call("reserve", dollars)
        return grant

    def settle(self, reserved: float, cost: float) -> None:
        """Gives back what was set aside, for what it did cost."""
        self._controller.call("settle", reserved, cost)


def _write(terminal: pytest.TerminalReporter, line: str) -> None:
    terminal.ensure_newline()
    # xdist's dots are of no file, and pytest takes them for a finished line.
    writer = terminal.config.get_terminal_writer()
    if writer.width_of_current_line:
        writer.line()
    terminal.write_line(line)
