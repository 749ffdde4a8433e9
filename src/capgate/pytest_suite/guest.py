"""What capgate holds of a session: nothing, until pytest collects the first test of capgate's.

This module is light: the plugin imports it in every session.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from capgate.pytest_suite.process import Process

_PROCESS: Final = pytest.StashKey["Process"]()
_making = threading.Lock()


def process_of(config: pytest.Config) -> Process:
    """Returns what this process holds of the session; the first call makes it."""
    # The controller is asked by each of its workers in a thread of its own.
    with _making:
        if _PROCESS not in config.stash:
            from capgate.pytest_suite.process import Process

            config.stash[_PROCESS] = Process(config)
        return config.stash[_PROCESS]


def process_if_made(config: pytest.Config) -> Process | None:
    """Returns the same, or None in a session that has collected no test of capgate's."""
    return config.stash.get(_PROCESS, None)


def target_of(config: pytest.Config, nodeid: str) -> str | None:
    """Returns the target of a test that workers have collected; None if it is not capgate's."""
    process = process_if_made(config)
    if process is None or process.controller is None:
        return None
    return process.controller.target_of(nodeid)


def connect(node: Any) -> None:  # noqa: ANN401 (pytest-xdist has no types)
    """Gives a worker its channel to the controller, which is made when the worker first asks.

    Args:
        node: pytest-xdist's end of the worker.
    """
    from capgate.pytest_suite.broker import WORKER_INPUT, Broker

    channel = node.gateway.newchannel()
    node.workerinput[WORKER_INPUT] = channel
    Broker(channel, lambda: process_of(node.config).calls())
