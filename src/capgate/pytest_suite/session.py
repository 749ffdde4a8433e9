"""One process's part in a pytest session that has tests of capgate's.

It is made for the first such test that pytest collects: in the one process of a session, or in
each worker of pytest-xdist. With workers the controller has one too, made when a worker first
asks for something; what only the controller does is in `controller`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import cached_property

import pytest

from capgate.asking.progress import Feed, Tally
from capgate.benchmarks.recorded import nouns_of
from capgate.common.errors import CapgateError
from capgate.config.alerts import alert_urls
from capgate.config.settings import Settings
from capgate.pytest_suite.broker import BrokerClient
from capgate.pytest_suite.cases import BENCHMARK, has_no_cases, parametrize
from capgate.pytest_suite.choosing import SessionPlan, asked_for, choose, is_ours
from capgate.pytest_suite.exit_code import OURS
from capgate.pytest_suite.fixture import Bench
from capgate.pytest_suite.markers import filter_warnings, without_deprecations
from capgate.pytest_suite.shared import Shared, SharedByController
from capgate.pytest_suite.terminal import Terminal
from capgate.run.run import Run
from capgate.run.runs import Runs
from capgate.run.session_tests import SessionTests


class Session:
    """One process's part.

    Args:
        config: pytest's configuration.
        controller: A worker's connection to its controller; None in the controller, and in a
            session without workers.

    Attributes:
        fault: Why the run's tests cannot be collected: an option or a file is wrong.
        terminal: Where lines are shown.
        shared: What the session has only once.
        plan: What the session's tests ask; empty until `arrange`.
        choice: What the user is told of the choice of tests; `""` if there is nothing to tell.
    """

    def __init__(self, config: pytest.Config, controller: BrokerClient | None = None) -> None:
        self._config = config
        self._controller = controller
        self._making = threading.RLock()
        self._runs: Runs | None = None
        self.terminal = Terminal(config, lambda: self.settings)
        self.shared = (
            Shared(lambda: self.run, self.terminal)
            if controller is None
            else SharedByController(controller)
        )
        self.fault: str | None = None
        self.plan = SessionPlan()
        self.choice = ""

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

    @property
    def runs(self) -> Runs:
        """This process's part in the run; the workers' threads in the controller share it."""
        with self._making:
            if self._runs is None:
                self._runs = Runs(self.settings.benchmarks, self._make_run)
            return self._runs

    @property
    def run(self) -> Run:
        """The part of the run's first benchmark, which has the store and the targets of all."""
        return self.runs.first

    def _make_run(self, benchmark: str, beside: Run | None) -> Run:
        shared, settings = self.shared, self.settings
        run = Run(
            settings,
            shared.run_id,
            benchmark=benchmark,
            beside=beside,
            endpoint=shared.endpoint,
            readmit=shared.readmit,
            post_mortem=shared.post_mortem,
            share=self._processes,
            say=shared.say,
            tell=shared.tell,
            cost_limit=None if settings.max_cost is None else shared.cost_limit(settings.max_cost),
            losses=shared.losses,
        )

        def planned(target: str) -> set[str] | None:
            return self.plan.planned(target, benchmark, lambda: run.asked.groups(target))

        def sizes(target: str) -> tuple[int, int]:
            groups = planned(target) or ()
            chosen = run.selection(target).by_subject
            return len(groups), sum(len(chosen.get(group, ())) for group in groups)

        def progress(target: str, groups: int, questions: int, tally: Tally) -> None:
            noun = f"{nouns_of(benchmark).group}s" if run.asked.has_groups(target) else ""
            shared.progress(run.named(target), groups, questions, tally, noun)

        run.feed = Feed(
            progress, sizes, lambda target, group: self.plan.counts(target, benchmark, group)
        )
        run.session = SessionTests(
            mode=lambda target: self.plan.modes.get((target, benchmark)),
            planned=planned,
            following=lambda target, group: self.plan.following(target, benchmark, group),
            beside_quick=lambda target: (target, benchmark) in self.plan.beside_quick,
        )
        return run

    @property
    def has_stored(self) -> bool:
        """Whether this process has opened the run's store."""
        return self._runs is not None and "store" in self._runs.first.__dict__

    @property
    def _processes(self) -> int:
        """Into how many processes a target's connections are divided."""
        # With --dist loadgroup each target has a worker of its own.
        if self._controller is None or getattr(self._config.option, "loadgroup", False):
            return 1
        return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Gives a test its targets, and its benchmarks and groups where it takes them."""
        with without_deprecations():
            targets = self._targets()
            if targets:
                parametrize(metafunc, self.runs, targets)
            else:
                names = {"target", BENCHMARK, "group", "subject"} & set(metafunc.fixturenames)
                metafunc.parametrize(sorted(names), [])

    def leaves_out(self, name: str) -> bool:
        """Whether a function of the shipped suite stands for no test in this run."""
        return bool(self._targets()) and has_no_cases(name, self.runs)

    def _targets(self) -> Sequence[str]:
        if self.fault is None:
            try:
                targets = tuple(self.run.targets)
                for run in self.runs:
                    _ = run.benchmark
                alert_urls(self.settings.root, self.settings.alerts)
            except CapgateError as error:
                self.fault = self.terminal.fit(str(error))
            else:
                return targets
        return ()

    def arrange(self, items: list[pytest.Item]) -> bool:
        """Puts preflights first and suites last; leaves out what would be judged twice.

        Args:
            items: The session's tests, changed in place.

        Returns:
            Whether a test of capgate's is among them.

        Raises:
            pytest.UsageError: The run's options or files are wrong.
        """
        if self.fault is not None:
            if items and not any(map(is_ours, items)):
                return False  # the user's choice has none of capgate's tests
            items.clear()
            if self._controller is None:
                raise pytest.UsageError(self.fault)
            self._controller.call("fault", self.fault)
            return True
        settings = self.settings
        chosen = choose(items, asked_for(self._config), settings.benchmarks, quick=settings.quick)
        if chosen.left_out:
            self._config.hook.pytest_deselected(items=list(chosen.left_out))
        items[:] = [part.item for part in chosen.kept]
        ours = [part for part in chosen.kept if part.name]
        if not ours:
            return False
        self.choice = chosen.line
        self.plan = SessionPlan.of(chosen, settings.benchmarks)
        for part in ours:
            part.item.user_properties.append((OURS, part.name))
            filter_warnings(part.item)
        if self._controller is not None:
            self._controller.call("collected", self.plan.targets)
            if self.choice:
                self._controller.call("tell", "choice", self.choice)
        return True

    def bench(self, node: pytest.Item) -> Bench:
        """Returns the run as a test uses it."""
        return Bench(self.runs, node, self.plan)

    def stop_asking(self) -> None:
        """Cancels what is asked though no test waits for it."""
        if self._runs is not None:
            self._runs.stop_asking()

    def close(self) -> None:
        """Ends what this process has started."""
        if self._runs is not None:
            self._runs.close()
        self.shared.close()
