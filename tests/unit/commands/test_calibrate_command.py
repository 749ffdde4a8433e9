"""`capgate calibrate`: a target asked twice on a real server, and the gate on its flips."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.server import Server, hashed_answer
from tests.unit.commands.conftest import Told

ASKED = ("--model-id", "one", "--limit", "57", "--simulations", "20")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """A project whose one target a server serves; the working directory."""
    monkeypatch.chdir(tmp_path)
    entry = {"model_name": "smollm2", "base_url": server.url, "context_window": 2048}
    (tmp_path / "config").mkdir()
    targets = {"one": {**entry, "dataset": "bundled"}, "two": entry}
    (tmp_path / "config" / "models.yaml").write_text(yaml.safe_dump(targets))
    return tmp_path


@pytest.mark.usefixtures("project")
def test_a_steady_target(told: Told, server: Server) -> None:
    """Every question is asked twice; without flips no alarm is false."""
    out, _ = told("calibrate", *ASKED)
    assert out.splitlines()[0] == "one: 57 questions, each asked twice"
    assert "answered otherwise: 0 of 57" in out
    assert out.splitlines()[-1] == "within what is allowed"
    assert len(server.chats) == 2 * 57


@pytest.mark.usefixtures("project")
def test_json_of_a_target_that_wavers(told: Told, server: Server) -> None:
    """Its flips are counted with an interval, and the gate's false alarms on them."""
    number = count()

    def wavering(asked: dict[str, Any]) -> str:
        return "ANSWER: A" if next(number) % 3 == 0 else hashed_answer(asked)

    server.answer = wavering
    found = json.loads(told("calibrate", *ASKED, "--json")[0])
    assert found["target"] == "one"
    assert found["n"] == 57
    assert 0 < found["changed"]["count"] <= 57
    assert set(found["changed"]["interval"]) == {"low", "high", "level"}
    assert (found["whole"]["of"], found["holds"]) == (20, True)


@pytest.mark.usefixtures("project")
def test_two_targets_are_too_many(told: Told, server: Server) -> None:
    """It asks one target; a second one is wrong usage, told before anything is asked."""
    _, err = told("calibrate", "--model-id", "one", "--model-id", "two", code=4)
    assert "calibrate asks one target, not 2" in err
    assert not server.chats


@pytest.mark.usefixtures("project")
def test_a_server_that_is_gone(told: Told, server: Server) -> None:
    """A server out of reach is told with its target, without a traceback."""
    server.stop()
    _, err = told("calibrate", *ASKED, code=4)
    assert "one" in err
    assert "Traceback" not in err
