"""What one process holds of a session, made when its first test of capgate's is collected."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from capgate.common.garbage import collected_rarely
from capgate.pytest_suite.broker import WORKER_INPUT, BrokerClient, Calls
from capgate.pytest_suite.runner_hooks import RunnerHooks
from capgate.pytest_suite.session import Session

if TYPE_CHECKING:
    from capgate.pytest_suite.controller import Controller


class Process:
    """One process.

    Args:
        config: pytest's configuration.

    Attributes:
        session: Its part in the session.
        controller: What it does as controller; None in a worker.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._hooks: list[object] = []
        self._rarely = ExitStack()
        self._rarely.enter_context(collected_rarely())
        worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
        if worker_input is None:
            # A worker writes no reports, and so needs nothing of what does.
            from capgate.pytest_suite.controller import Controller

            self.session = Session(config)
            self.controller: Controller | None = Controller(self.session)
        else:
            self.session = Session(config, BrokerClient(worker_input[WORKER_INPUT]))
            self.controller = None

    def calls(self) -> Calls:
        """Returns the functions that workers call in their controller."""
        assert self.controller is not None
        return self.controller.calls()

    def begin(self) -> None:
        """Registers the hooks of a session that has tests of capgate's; in the main thread."""
        if self._hooks:
            return
        self._hooks.append(RunnerHooks(self.session))
        if self.controller is not None:
            from capgate.pytest_suite.controller_hooks import ControllerHooks

            self._hooks.append(ControllerHooks(self.controller))
            self.controller.begin()
        for hooks in self._hooks:
            self._config.pluginmanager.register(hooks, f"capgate-{type(hooks).__name__}")

    def close(self) -> None:
        """Ends what the process has started."""
        with self._rarely:
            if self.controller is not None:
                self.controller.close()
            else:
                self.session.close()
