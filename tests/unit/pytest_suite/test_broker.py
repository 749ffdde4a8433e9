"""How workers reach their controller: over a real socket, each call by its name."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from capgate.common.errors import ConfigError, ServerError
from capgate.pytest_suite.broker import Address, Broker, BrokerClient
from capgate.serving.endpoint import Endpoint

_CONTROLLER = """
import os, threading
from capgate.pytest_suite.broker import Broker
broker = Broker({"go": lambda: os._exit(1)})
print(broker.address.path, broker.address.key, flush=True)
threading.Event().wait(60)
"""
"""A controller that dies as the kernel lets it: without a word."""

ENDPOINT = Endpoint("mine", "http://127.0.0.1:1/v1", "m", "vllm", {"weights": "abc"}, key="k")


def refuse() -> None:
    """Fails with all that a fault can carry."""
    raise ConfigError("it is wrong", target="mine", said="no", remedy="mend it")


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker that answers, refuses and breaks."""
    calls = {
        "endpoint": lambda target: ENDPOINT if target == "mine" else None,
        "refuse": refuse,
        "break": lambda: 1 / 0,
        "add": lambda one, other: one + other,
    }
    made = Broker(calls)
    yield made
    made.close()


def test_values_and_faults_arrive_whole(broker: Broker) -> None:
    """A worker gets what the controller has, and its faults with all their fields."""
    client = BrokerClient(broker.address)
    assert client.call("endpoint", "mine") == ENDPOINT
    with pytest.raises(ConfigError) as caught:
        client.call("refuse")
    fault = caught.value
    assert (fault.target, fault.said, fault.remedy) == ("mine", "no", "mend it")
    with pytest.raises(ServerError, match="ZeroDivisionError"):
        client.call("break")
    assert client.call("add", 1, 2) == 3


def test_one_that_waits_keeps_no_other_waiting() -> None:
    """While one worker's call takes its time, the others have their answers."""
    held, free = threading.Event(), threading.Event()

    def hold() -> str:
        held.set()
        assert free.wait(10)
        return "held"

    with ThreadPoolExecutor() as pool:
        slow = Broker({"hold": hold, "quick": lambda: "quick"})
        waiting = pool.submit(BrokerClient(slow.address).call, "hold")
        assert held.wait(10)
        assert BrokerClient(slow.address).call("quick") == "quick"
        free.set()
        assert waiting.result(10) == "held"
        slow.close()


def test_strangers_are_turned_away(broker: Broker) -> None:
    """A wrong key gets nothing; whoever drops, stalls or shouts ends nothing; all is private."""
    with pytest.raises(Exception, match="digest"):
        BrokerClient(Address(broker.address.path, "00" * 16))
    with socket.socket(socket.AF_UNIX) as gone:
        gone.connect(broker.address.path)
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as loud:
        silent.connect(broker.address.path)
        loud.connect(broker.address.path)
        loud.sendall(b"\xff" * 4096)
        assert BrokerClient(broker.address).call("add", 2, 2) == 4
    assert Path(broker.address.path).parent.stat().st_mode & 0o077 == 0


def test_gone_controller_is_told() -> None:
    """A worker whose controller ends while it waits fails by a fault that says so."""
    with subprocess.Popen(
        [sys.executable, "-c", _CONTROLLER], stdout=subprocess.PIPE, text=True
    ) as controller:
        assert controller.stdout is not None
        path, key = controller.stdout.readline().split()
        client = BrokerClient(Address(path, key))
        with pytest.raises(ServerError, match="the run's controller is gone"):
            client.call("go")
    shutil.rmtree(Path(path).parent)
