"""What workers share is made once, whichever of them asks for it first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from capgate.config.store_place import StorePlace
from capgate.pytest_suite.shared import Shared
from capgate.pytest_suite.terminal import Terminal


class Run:
    """A run whose targets are asked for by two threads at once, where nothing keeps them apart."""

    folder = Path("run")
    settings = SimpleNamespace(
        root=Path.cwd(), max_cost=2.0, ray=None, store=StorePlace.file(Path("a.sqlite"))
    )

    def __init__(self) -> None:
        self._meeting = threading.Barrier(2)

    @property
    def participants(self) -> dict[str, object]:
        """No targets; who comes first waits a moment for another to come."""
        try:
            self._meeting.wait(0.2)
        except threading.BrokenBarrierError:
            self._meeting.reset()
        return {}


@pytest.fixture
def shared(pytestconfig: pytest.Config) -> Shared:
    """What a controller shares."""
    run = Run()
    return Shared(lambda: run, Terminal(pytestconfig, lambda: run.settings))  # type: ignore[arg-type, return-value]


def test_two_workers_that_come_together_find_one_server(shared: Shared) -> None:
    """Both get the same servers, which are looked up once."""
    with ThreadPoolExecutor() as pool:
        one, other = pool.map(lambda _: shared.servers, range(2))
    assert one is other


def test_workers_spend_one_limit(shared: Shared) -> None:
    """What one has set aside the other cannot."""
    calls = shared.calls()
    assert calls["reserve"](1.5) == "granted"
    assert calls["reserve"](1.5) == "wait"
    calls["settle"](1.5, 0.2)
    assert calls["reserve"](1.5) == "granted"


def test_all_have_the_controllers_run(shared: Shared) -> None:
    """Each worker takes part in the same run."""
    assert shared.calls()["run_id"]() == shared.run_id
