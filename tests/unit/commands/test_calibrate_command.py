"""`capgate calibrate`: a target asked twice on a real server, and the gate on its flips."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.server import Server, hashed_answer
from tests.doubles.vllm import interpreter
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


def by_batch(server: Server) -> Callable[[dict[str, Any]], str]:
    """Answers that depend on how many requests the server works on at the same time."""
    number = count()

    def answer(asked: dict[str, Any]) -> str:
        beside = server.in_flight > 1
        return "ANSWER: A" if beside and next(number) % 2 == 0 else hashed_answer(asked)

    return answer


def each_other_time() -> Callable[[dict[str, Any]], str]:
    """Answers to some questions that change each time, however many are asked at once."""
    times: Counter[str] = Counter()

    def answer(asked: dict[str, Any]) -> str:
        said = hashed_answer(asked)
        question = asked["messages"][-1]["content"]
        times[question] += 1
        return "ANSWER: A" if said == "ANSWER: B" and times[question] % 2 else said

    return answer


@pytest.mark.usefixtures("project")
def test_batches_are_the_reason(told: Told, server: Server) -> None:
    """A server that wavers only under load: one question at a time removes all contradictions."""
    server.answer, server.latency = by_batch(server), 0.005
    out, _ = told("calibrate", *ASKED, "--try-remedy")
    assert len(server.chats) == 4 * 57
    assert "answered otherwise one at a time:    0 of 57" in out
    assert "it helps (p = " in out
    assert "100% of the contradictions come from what else the server works on" in out
    assert "VLLM_BATCH_INVARIANT=1" in out
    assert "--try-remedy" not in out


@pytest.mark.usefixtures("project")
def test_one_question_at_a_time(told: Told, server: Server) -> None:
    """The remedy is really tried: its questions are never in flight together."""
    most: list[int] = []
    answer = each_other_time()

    def noting(asked: dict[str, Any]) -> str:
        most.append(server.in_flight)
        return answer(asked)

    server.answer, server.latency = noting, 0.005
    told("calibrate", *ASKED, "--try-remedy")
    assert len(most) == 4 * 57
    assert max(most[: 2 * 57]) > 1
    assert max(most[2 * 57 :]) == 1


@pytest.mark.usefixtures("project")
def test_batches_are_not_the_reason(told: Told, server: Server) -> None:
    """A server that draws its answers wavers one question at a time as well, and that is said."""
    server.answer = each_other_time()
    found = json.loads(told("calibrate", *ASKED, "--try-remedy", "--json")[0])
    tried = found["noise"]["one_at_a_time"]
    assert tried["n"] == 57
    assert tried["before"]["count"] == tried["after"]["count"] == found["changed"]["count"] >= 5
    assert (tried["removed"], tried["outcome"]) == (0.0, "does not help")
    assert set(tried["before"]["interval"]) == {"low", "high", "level"}


@pytest.mark.usefixtures("project")
def test_a_steady_server_needs_no_remedy(told: Told, server: Server) -> None:
    """Without a contradiction nothing more is asked, and no remedy is named."""
    found = json.loads(told("calibrate", *ASKED, "--try-remedy", "--json")[0])
    assert found["noise"] is None
    assert len(server.chats) == 2 * 57


@pytest.mark.usefixtures("project")
def test_what_flips_cost(told: Told, server: Server) -> None:
    """Flips raise the discordance, and with it the questions that a verdict takes."""
    server.answer = each_other_time()
    found = json.loads(told("calibrate", *ASKED, "--json")[0])
    cost, flips = found["noise"]["cost"], found["flips"]["share"]
    assert (cost["without"], cost["assumed"]) == (0.1, True)
    assert cost["with_flips"] == pytest.approx(0.1 + flips - 0.2 * flips)
    assert [case["case"] for case in cost["quick"]] == ["nothing was lost", "2 points were lost"]
    assert cost["needed_with_flips"] > cost["needed_without"] > 228
    assert cost["visible_with_flips"] > cost["visible_without"]
    assert found["noise"]["one_at_a_time"] is None


@pytest.mark.usefixtures("project")
def test_how_to_measure_is_said(told: Told, server: Server) -> None:
    """Without the option, people are told the command that tries the remedy."""
    server.answer = each_other_time()
    out, _ = told("calibrate", *ASKED)
    assert "what the flips cost a comparison, at a discordance of 10.0% without them" in out
    assert "capgate calibrate --model-id one --limit 57 --try-remedy" in out
    assert "the same type of GPU" in out


@pytest.mark.usefixtures("project")
def test_answers_that_are_drawn(told: Told, server: Server) -> None:
    """At a temperature above 0 the first remedy is to ask at 0."""
    server.answer = each_other_time()
    found = json.loads(told("calibrate", *ASKED, "--temperature", "0.7", "--json")[0])
    assert "temperature 0.7" in found["noise"]["remedies"][0]


@pytest.fixture
def started(project: Path) -> Callable[[dict[str, str]], None]:
    """Makes the project's target one whose vLLM capgate starts, with some variables."""

    def write(env: dict[str, str]) -> None:
        python = str(interpreter(project / "python"))
        serve = {"engine": "vllm", "model": "org/model", "python": python, "env": env}
        entry = {"model_name": "smollm2", "serve": serve, "dataset": "bundled"}
        path = project / "config" / "models.yaml"
        path.write_text(yaml.safe_dump({"one": {**entry, "context_window": 2048}}))

    return write


def test_vllm_is_started_anew(told: Told, started: Callable[[dict[str, str]], None]) -> None:
    """A vLLM that capgate starts is started anew in its batch-invariant mode, and compared."""
    started({"DOUBLE_WAVERS": "yes"})
    noise = json.loads(told("calibrate", *ASKED, "--try-remedy", "--json")[0])["noise"]
    assert noise["one_at_a_time"]["outcome"] == "does not help"
    assert noise["batch_invariant"]["outcome"] == "helps"
    assert noise["batch_invariant"]["after"]["count"] == 0
    assert "serve: {env: {VLLM_BATCH_INVARIANT: '1'}}" in noise["remedies"][0]


def test_a_device_without_the_mode(told: Told, started: Callable[[dict[str, str]], None]) -> None:
    """Where vLLM does not start in that mode, its own words are told, and the rest is kept."""
    started({"DOUBLE_WAVERS": "yes", "DOUBLE_LACKS_MODE": "yes"})
    out, _ = told("calibrate", *ASKED, "--try-remedy")
    assert "VLLM_BATCH_INVARIANT=1 could not be tried: " in out
    assert "batch invariance is not supported on this device" in out
    assert "answered otherwise one at a time: " in out
    assert out.splitlines()[-1] == "within what is allowed"
