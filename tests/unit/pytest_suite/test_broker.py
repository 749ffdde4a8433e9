"""How workers reach their controller: over real channels of execnet, each call by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import execnet
import pytest

from capgate.common.errors import ConfigError, ServerError
from capgate.pytest_suite.broker import BrokerClient
from capgate.serving.endpoint import Endpoint

_CONTROLLER = """
import os, threading
from capgate.common.errors import ConfigError
from capgate.pytest_suite.broker import Broker
from capgate.serving.endpoint import Endpoint

free = threading.Event()

def refuse():
    raise ConfigError("it is wrong", target="mine", said="no", remedy="mend it")

def hold():
    channel.send("held")
    assert free.wait(10)
    return "free"

calls = {
    "endpoint": lambda target: Endpoint(
        target, "http://127.0.0.1:1/v1", "m", "vllm", {"weights": "abc"}, key="k"
    ),
    "refuse": refuse,
    "break": lambda: 1 / 0,
    "lock": threading.Lock,
    "add": lambda one, other: one + other,
    "hold": hold,
    "release": free.set,
    "go": lambda: os._exit(1),
}
for end in channel:
    Broker(end, lambda: calls)
"""

Connect = Callable[[], BrokerClient]


@pytest.fixture
def controller() -> Iterator[Any]:
    """A process that answers; its channel takes the ends of further channels."""
    gateway = execnet.makegateway("popen")
    yield gateway.remote_exec(_CONTROLLER)
    gateway.exit()
    execnet.default_group.terminate(timeout=1)


@pytest.fixture
def connect(controller: Any) -> Connect:  # noqa: ANN401
    """Connects one more worker to the process."""

    def connected() -> BrokerClient:
        mine = controller.gateway.newchannel()
        controller.send(mine)
        return BrokerClient(mine)

    return connected


def test_values_and_faults_arrive_whole(connect: Connect) -> None:
    """A worker gets what the controller has, and its faults with all their fields."""
    client = connect()
    assert client.call("endpoint", "mine") == Endpoint(
        "mine", "http://127.0.0.1:1/v1", "m", "vllm", {"weights": "abc"}, key="k"
    )
    with pytest.raises(ConfigError) as caught:
        client.call("refuse")
    fault = caught.value
    assert (fault.target, fault.said, fault.remedy) == ("mine", "no", "mend it")
    with pytest.raises(ServerError, match="ZeroDivisionError"):
        client.call("break")
    with pytest.raises(ServerError, match="pickle"):
        client.call("lock")
    assert client.call("add", 1, 2) == 3


def test_one_that_waits_keeps_no_other_waiting(controller: Any, connect: Connect) -> None:  # noqa: ANN401
    """While one worker's call takes its time, the others have their answers."""
    slow, other = connect(), connect()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(slow.call, "hold")
        assert controller.receive(10) == "held"
        assert other.call("add", 2, 2) == 4
        other.call("release")
        assert waiting.result(10) == "free"


def test_gone_controller_is_told(connect: Connect) -> None:
    """A worker whose controller ends while it waits fails by a fault that says so."""
    client = connect()
    with pytest.raises(ServerError, match="the run's controller is gone"):
        client.call("go")
