"""The process on a node that starts a server, by itself: a double of vLLM is its server."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.doubles.vllm import interpreter

from capgate.config.targets import Target, VllmServe


class Replica:
    """The process, and the lines that go to and fro."""

    def __init__(self, python: Path, **changed: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "capgate.serving.cluster.replica"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        spec = VllmServe(engine="vllm", model="org/model", python=str(python))
        target = Target(id="mine", model_name="mine", serve=spec).model_dump(mode="json")
        order = {"target": target | changed, "number": 2, "address": "127.0.0.1"}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def says(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def below(self) -> list[psutil.Process]:
        """Its supervisor and its server."""
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python with a double of vLLM."""
    return interpreter(tmp_path / "python")


@pytest.fixture
def replica(python: Path) -> Iterator[Replica]:
    """One that carries out an order."""
    made = Replica(python)
    yield made
    made.process.kill()
    made.process.wait()


def test_it_says_url_and_key_and_ends_with_its_owner(replica: Replica) -> None:
    """The server takes the key; when the owner goes away it ends, and its log has no key."""
    up = replica.says()["up"]
    assert up["base_url"].startswith("http://127.0.0.1:")
    asked = urllib.request.Request(
        f"{up['base_url']}/models", headers={"Authorization": f"Bearer {up['key']}"}
    )
    with urllib.request.urlopen(asked) as reply:
        assert reply.status == 200
    processes = replica.below()
    assert not any(up["key"] in part for one in processes for part in one.cmdline())
    assert replica.process.stdin is not None
    replica.process.stdin.close()
    ended = replica.says()["ended"]
    assert "flags:" in ended["log"]
    assert up["key"] not in json.dumps(ended)
    _, left = psutil.wait_procs(processes, timeout=30)
    assert not left
    assert replica.process.wait(30) == 0


def test_its_server_ends_though_it_is_killed(replica: Replica) -> None:
    """Ray kills what an actor has started by SIGKILL."""
    replica.says()
    processes = replica.below()
    assert len(processes) >= 2
    replica.process.kill()
    _, left = psutil.wait_procs(processes, timeout=30)
    assert not left


def test_an_order_of_another_version_is_refused(python: Path) -> None:
    """A key that this version does not know is named, with the remedy."""
    replica = Replica(python, of_tomorrow=1)
    failed = replica.says()["failed"]
    assert "of_tomorrow" in failed["said"]
    assert "same version of capgate" in failed["remedy"]
    assert replica.process.wait(30) == 0
