"""Which run loads and which unloads an adapter, with runs on several machines and one database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest
from tests.doubles.postgres import PostgresServer

from capgate.config.store_place import StorePlace
from capgate.serving.adapters.leases import end_left_over, left_over
from capgate.serving.adapters.shared_leases import address
from capgate.store.open_store import open_leases

SECONDS = 120.0
SERVER = "http://server/v1"

RUN = """
import sys
from capgate.config.store_place import StorePlace
from capgate.serving.adapters.leases import Lease
from capgate.store.open_store import open_leases
shared = open_leases(StorePlace.read(sys.argv[1]))
lease = Lease("http://server/v1", "mine", shared)
print("looking", flush=True)
for line in sys.stdin:
    match line.strip():
        case "load":
            lease.claim()
            print("loaded", flush=True)
        case "settle":
            lease.settle()
            print("settled", flush=True)
        case "end":
            with lease.ending() as last:
                print(last, flush=True)
shared.close()
"""


class Machine:
    """A run on a machine with folders of its own."""

    def __init__(self, url: str, home: Path) -> None:
        home.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "HOME": str(home),
                "XDG_CACHE_HOME": str(home / "cache"),
                "CAPGATE_CLAIM_SECONDS": "2",
            },
        )

    def hears(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        ended = Timer(SECONDS, self.process.kill)
        ended.start()
        try:
            return self.process.stdout.readline().strip()
        finally:
            ended.cancel()

    def ask(self, word: str) -> str:
        """Sends it a line; its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.hears()

    def kill(self) -> None:
        """Ends it, with no chance to clean up."""
        self.process.kill()
        self.process.communicate(timeout=SECONDS)


def until(true: Callable[[], bool]) -> None:
    """Asks a database until something is so."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A database for the leases."""
    return postgres.url(postgres.new_database())


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Iterator[Callable[[], Machine]]:
    """Starts a run on a machine of its own."""
    with ExitStack() as stack:
        started: list[Machine] = []

        def start() -> Machine:
            started.append(Machine(url, tmp_path / f"home{len(started)}"))
            stack.callback(started[-1].kill)
            return started[-1]

        yield start


def test_the_last_machine_unloads_what_another_one_loaded(machine: Callable[[], Machine]) -> None:
    """An adapter that a run on another machine uses stays, and the last run unloads it."""
    one = machine()
    assert one.hears() == "looking"
    one.ask("load")
    one.ask("settle")
    other = machine()
    assert other.hears() == "looking"
    other.ask("settle")
    assert one.ask("end") == "False"
    assert other.ask("end") == "True"


def test_what_nobody_loaded_stays_loaded(machine: Callable[[], Machine]) -> None:
    """An adapter that somebody else loaded is unloaded by no machine."""
    one = machine()
    assert one.hears() == "looking"
    one.ask("settle")
    other = machine()
    assert other.hears() == "looking"
    other.ask("settle")
    assert one.ask("end") == "False"
    assert other.ask("end") == "False"


def test_one_machine_loads_at_a_time(machine: Callable[[], Machine]) -> None:
    """A run waits while another one lists and loads adapters, and goes on when that is killed."""
    one = machine()
    assert one.hears() == "looking"
    other = machine()
    assert one.ask("load") == "loaded"
    one.kill()
    assert other.hears() == "looking"
    other.ask("settle")
    assert other.ask("end") == "True"


def test_what_a_killed_machine_left_is_unloaded_by_another(
    machine: Callable[[], Machine], url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once its lease has expired; not while it lives, and again where the server refused it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    shared = open_leases(StorePlace.read(url))
    assert shared is not None
    unloaded: list[str] = []

    def refused(name: str) -> bool:
        unloaded.append(f"{name}, refused")
        return False

    def done(name: str) -> bool:
        unloaded.append(name)
        return True

    one = machine()
    assert one.hears() == "looking"
    one.ask("load")
    one.ask("settle")
    end_left_over(SERVER, done, shared)
    assert unloaded == []
    one.kill()
    until(lambda: shared.left_over(SERVER) == ["mine"])
    end_left_over(SERVER, refused, shared)
    end_left_over(SERVER, done, shared)
    end_left_over(SERVER, done, shared)
    shared.close()
    assert unloaded == ["mine, refused", "mine"]
    assert left_over(SERVER) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://gpu1:8000/v1", "http://gpu1:8000/v1/", True),
        ("http://gpu1:8000/v1", "http://gpu2:8000/v1", False),
        ("http://gpu1/v1", "http://gpu1:80/v1", True),
        ("http://localhost:8000/v1", "http://127.0.0.1:8000/v1", True),
    ],
)
def test_a_server_has_one_address(one: str, other: str, same: bool) -> None:
    """However a run writes its URL; a server of this machine is no other machine's."""
    assert (address(one) == address(other)) is same
    assert "127.0.0.1" not in address(other)
