"""Runs that judge an adapter on a server that behaves as vLLM does."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import pytest
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import (
    PROBE,
    TWO_SUBJECTS,
    Outcome,
    Process,
    Project,
    no_traceback,
    question_of,
    right,
    target,
    until,
    wrong,
)

MINE = "base+mine"
FEW = "catch: 0.1\nreason: few questions\n"


def like_a_model(asked: dict[str, Any]) -> str:
    """Answers questions right, and anything else with some words."""
    return right(asked) if wants_a_letter(asked) else "I am as I was taught to be"


def wants_a_letter(asked: dict[str, Any]) -> bool:
    """Whether a request is a question, the preflight's included, and not the proof's."""
    return "ANSWER: $LETTER" in str(asked["messages"])


def is_question(asked: dict[str, Any]) -> bool:
    """Whether a request asks a question of the benchmark."""
    return wants_a_letter(asked) and question_of(asked) != PROBE


def forgot(_path: str, asked: dict[str, Any]) -> str:
    """Answers every question wrong."""
    return wrong(asked) if is_question(asked) else like_a_model(asked)


def questions_of(server: Vllm, model: str) -> int:
    """How many questions of the benchmark a model was asked."""
    return sum(map(is_question, server.asked_of(model)))


class Home:
    """A project whose target is a double, with an adapter on disk."""

    def __init__(self, project: Project) -> None:
        self.project = project
        project.write("thresholds/policy.yaml", FEW)
        make_adapter(project.root / "adapters" / "mine")

    def begin(self, server: Vllm, *options: str, mark: str = "full", **keys: object) -> Process:
        """Starts a run that judges the adapter."""
        self.project.targets(base=target(server.url, **keys))
        return self.project.start(
            *("benchmarks", "-m", mark, "--model-id", "base", "--adapter-name", "mine"),
            *options,
            XDG_CACHE_HOME=str(self.project.root / "cache"),
        )

    def judge(self, server: Vllm, *options: str, mark: str = "full", **keys: object) -> Outcome:
        """Runs it to its end."""
        return self.begin(server, *options, mark=mark, **keys).finish()


@pytest.fixture
def home(project: Project) -> Home:
    """A project."""
    return Home(project)


def test_exchanged_weights_are_judged_anew(home: Home) -> None:
    """Other weights under the name and path of an adapter that has passed do not pass by that."""
    with Vllm(adapters={"mine": "/srv/adapters/mine"}, answer=like_a_model) as server:
        good = home.judge(server, mark="quick")
        assert (good.code, good.verdict(MINE)) == (0, "PASS"), good.text
        server.tuned = forgot
        bad = home.judge(server, mark="quick")
        assert (bad.code, bad.verdict(MINE)) == (1, "REGRESSION"), bad.text
    # The base's answers are kept: nothing of it has changed.
    asked = Counter(question_of(one) for one in server.asked_of("smollm2") if is_question(one))
    assert set(asked.values()) == {1}


@pytest.mark.slow
def test_an_adapter_on_disk_is_not_asked_twice(home: Home) -> None:
    """Equal content is known again: the second run asks nothing and leaves the server empty."""
    with Vllm(answer=like_a_model) as server:
        assert home.judge(server).code == 0
        (name, _) = server.loads[0]
        asked = questions_of(server, name)
        assert asked
        assert home.judge(server, "-n", "2").code == 0
        assert questions_of(server, name) == asked
        assert server.adapters == {}


@pytest.mark.slow
def test_a_server_that_mixes_gets_one_at_a_time(home: Home) -> None:
    """A server that applies the adapter to the base in a batch still shows what was forgotten."""
    with Vllm(answer=like_a_model, tuned=forgot, mixes=True, seconds_per_token=0.002) as server:
        outcome = home.judge(server, "-n", "2", "--max-tokens", "32", max_connections=8)
        assert server.adapters == {}
    assert (outcome.code, outcome.verdict(MINE)) == (1, "REGRESSION"), outcome.text
    assert "one after the other" in outcome.text
    assert home.project.result("base")["overall"]["wrong"] == 0


def test_a_server_that_mixes_is_asked_in_one_evaluation(home: Home) -> None:
    """Base and adapter take turns within an evaluation; there is none for each of them."""
    with Vllm(answer=like_a_model, version="0.32.0+cpu") as server:
        outcome = home.judge(server, *TWO_SUBJECTS)
    sides: dict[str, set[str]] = {}
    for told in home.project.logs():
        if not told["task"].endswith("preflight"):
            sides.setdefault(told["run_id"], set()).add(told["metadata"]["capgate_job"])
    assert sides, outcome.text
    assert set(map(frozenset, sides.values())) == {frozenset(("base", MINE))}


def test_a_dead_adapter_is_an_error(home: Home) -> None:
    """An adapter that does nothing is an error with its likely causes, and is unloaded."""
    with Vllm(answer=like_a_model, pull=0.0) as server:
        outcome = home.judge(server)
        assert server.adapters == {}
    assert outcome.code == 11, outcome.text
    assert "loaded and does nothing" in outcome.text
    assert no_traceback(outcome.text)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_an_ended_run_unloads(home: Home, number: signal.Signals, options: tuple[str, ...]) -> None:
    """A run that is told to end in the middle unloads its adapter and keeps what it has."""
    with Vllm(answer=like_a_model, seconds_per_token=0.0002) as server:
        process = home.begin(server, *options, max_connections=2)
        until(lambda: server.adapters, "the adapter is loaded")
        name = next(iter(server.adapters))
        until(lambda: questions_of(server, name), "a question to it")
        os.kill(process.pid, number)
        outcome = process.finish()
        assert outcome.code == 2, outcome.text
        assert no_traceback(outcome.text)
        assert server.adapters == {}
        assert server.unloads == [name]


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_ctrl_c_while_an_adapter_loads(home: Home, options: tuple[str, ...]) -> None:
    """An adapter that the server is still loading when the run is interrupted does not stay."""
    with Vllm(answer=like_a_model) as server:
        server.may_load.clear()
        process = home.begin(server, *options)
        assert server.load_asked.wait(120)
        process.signal_group(signal.SIGINT)
        until(lambda: server.unload_asked.is_set(), "the adapter is to be unloaded")
        server.may_load.set()
        outcome = process.finish()
        assert outcome.code == 2, outcome.text
        assert len(server.loads) == 1
        assert server.adapters == {}
