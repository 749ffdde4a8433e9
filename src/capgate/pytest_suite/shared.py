"""What a session has only once: its run's id, servers, progress, cost limit and lost targets.

The controller owns it (`Shared`). A worker of pytest-xdist reaches the same through the broker
(`SharedByController`); `calls` lists what it can ask for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from capgate.asking.cost_limit import CostLimit, Grant, RunCostLimit
from capgate.asking.progress import Progress, Tally
from capgate.config.chosen_targets import new_run_id
from capgate.config.targets import environment
from capgate.pytest_suite.broker import BrokerClient, Calls
from capgate.pytest_suite.terminal import Terminal
from capgate.run.run import Run
from capgate.serving.endpoint import Endpoint
from capgate.serving.lost import ControllersList, Losses, LostTargets
from capgate.serving.servers import Servers
from capgate.store.open_store import open_leases


class Shared:
    """The controller's. Each worker asks in a thread of its own, so what is made is made once.

    Args:
        run: Gives the controller's part in the run.
        terminal: Where lines are shown.

    Attributes:
        run_id: The run's id.
        losses: The targets that were lost in the middle of the run.
    """

    def __init__(self, run: Callable[[], Run], terminal: Terminal) -> None:
        self._run = run
        self._terminal = terminal
        self._making = threading.Lock()
        self._servers: Servers | None = None
        self._limit: RunCostLimit | None = None
        self._progress = Progress(terminal.show)
        self.run_id = new_run_id()
        self.losses: Losses = LostTargets()

    @property
    def servers(self) -> Servers:
        """The run's servers."""
        run = self._run()
        with self._making:
            if self._servers is None:
                self._servers = Servers(
                    run.participants,
                    environment(run.settings.root),
                    run.folder / "logs",
                    say=self._terminal.show,
                    observe_weights=True,
                    ray=run.settings.ray,
                    leases=open_leases(run.settings.store),
                )
            return self._servers

    @property
    def has_servers(self) -> bool:
        """Whether a server may run that the session must end."""
        return self._servers is not None

    def cost_limit(self, limit: float) -> CostLimit:
        """What the run may spend.

        Args:
            limit: US dollars.
        """
        with self._making:
            if self._limit is None:
                self._limit = RunCostLimit(limit)
            return self._limit

    def endpoint(self, target: str) -> Endpoint:
        """Returns a target's live endpoint."""
        return self.servers.endpoint(target)

    def readmit(self, target: str, url: str, since: float) -> Endpoint | None:
        """Returns an endpoint that stopped answering, once it is proven again."""
        return self.servers.readmit(target, url, since)

    def post_mortem(self, target: str) -> str:
        """Tells why a target's server has ended; `""` if it has not."""
        return self.servers.post_mortem(target)

    def say(self, line: str) -> None:
        """Shows a line of progress."""
        self._terminal.show(line)

    def tell(self, topic: str, line: str) -> None:
        """Shows a line once in the session."""
        self._terminal.tell(topic, line)

    def progress(self, target: str, subjects: int, questions: int, tally: Tally, noun: str) -> None:
        """Adds to the run's progress; see `Progress.add`."""
        self._progress.add(target, subjects, questions, tally, noun)

    def calls(self) -> Calls:
        """Returns the functions that workers call."""

        def run_limit() -> CostLimit:
            limit = self._run().settings.max_cost
            assert limit is not None, "a worker asks only where there is a limit"
            return self.cost_limit(limit)

        return {
            "run_id": lambda: self.run_id,
            "endpoint": self.endpoint,
            "readmit": self.readmit,
            "post_mortem": self.post_mortem,
            "say": self.say,
            "tell": self.tell,
            "progress": self.progress,
            "lose": self.losses.note,
            "lost": self.losses.fault,
            "reserve": lambda dollars: run_limit().reserve(dollars),
            "settle": lambda reserved, cost: run_limit().settle(reserved, cost),
        }

    def close(self) -> None:
        """Ends the servers."""
        if self._servers is not None:
            self._servers.close()


class SharedByController:
    """A worker's way to the same.

    Args:
        controller: The worker's connection to its controller.

    Attributes:
        run_id: The run's id.
        losses: The targets that were lost in the middle of the run.
    """

    def __init__(self, controller: BrokerClient) -> None:
        self._controller = controller
        self.run_id = str(controller.call("run_id"))
        self.losses: Losses = ControllersList(controller.call)

    def cost_limit(self, limit: float) -> CostLimit:
        """What the run may spend.

        Args:
            limit: US dollars.
        """
        return _ControllersCostLimit(limit, self._controller)

    def endpoint(self, target: str) -> Endpoint:
        """Returns a target's live endpoint."""
        endpoint: Endpoint = self._controller.call("endpoint", target)
        return endpoint

    def readmit(self, target: str, url: str, since: float) -> Endpoint | None:
        """Returns an endpoint that stopped answering, once it is proven again."""
        endpoint: Endpoint | None = self._controller.call("readmit", target, url, since)
        return endpoint

    def post_mortem(self, target: str) -> str:
        """Tells why a target's server has ended; `""` if it has not."""
        return str(self._controller.call("post_mortem", target))

    def say(self, line: str) -> None:
        """Shows a line of progress."""
        self._controller.call("say", line)

    def tell(self, topic: str, line: str) -> None:
        """Shows a line once in the session."""
        self._controller.call("tell", topic, line)

    def progress(self, target: str, subjects: int, questions: int, tally: Tally, noun: str) -> None:
        """Adds to the run's progress; see `Progress.add`."""
        self._controller.call("progress", target, subjects, questions, tally, noun)

    def close(self) -> None:
        """Leaves all to the controller."""


class _ControllersCostLimit:
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
