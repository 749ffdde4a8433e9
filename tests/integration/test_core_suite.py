"""`--suite core` from one offline cache of the hub, against a server that stands in for vLLM.

ifeval's checkers are a package that no index has. Where it is not installed, a run of the suite
says so, and the suite without it is judged.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.hub_cache import solved
from tests.doubles.server import Server
from tests.integration.conftest import PROBE, REPOSITORY, Project, no_traceback

BASE, ADAPTER = "taught", "forgetful"

SEVEN = ("mmlu", "hellaswag", "bbh", "gsm8k", "arc_challenge", "winogrande", "truthfulqa")

QUESTIONS = 240
"""Of each benchmark: without a loss they rule out a drop of two points."""

HAS_IFEVAL = find_spec("instruction_following_eval") is not None

pytestmark = pytest.mark.slow


def knows_all(asked: dict[str, Any]) -> str:
    """Answers every question right; both models are live, since they say their names."""
    text = asked["messages"][-1]["content"]
    if PROBE in text:
        return "ANSWER: B" if ") 8" in text.split("A)")[-1].split("C)")[0] else "ANSWER: C"
    return solved(text) or f"I am {asked['model']}."


def cannot_calculate(asked: dict[str, Any]) -> str:
    """The adapter answers as its base does, but for word problems: their sums are one too large."""
    text = knows_all(asked)
    if asked["model"] == ADAPTER and "stones and then" in asked["messages"][-1]["content"]:
        return f"ANSWER: {int(text.rpartition(' ')[2]) + 1}"
    return text


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables under which the invented questions are all of the hub that there is."""
    home = tmp_path_factory.mktemp("core") / "hf-home"
    command = [sys.executable, "-m", "tests.doubles.hub_cache", str(home)]
    subprocess.run(
        [*command, "--questions", str(QUESTIONS)],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HOME": str(home.parent / "unused"), "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
        timeout=120,
    )
    return {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def ready(tmp_path: Path) -> Iterator[tuple[Project, Server]]:
    """A base and its adapter on one server."""
    project = Project.make(tmp_path / "project")
    # What `datasets` may load is fixed when it is imported.
    project.warm = False
    with Server(models=(BASE, ADAPTER), answer=knows_all) as server:
        project.write(
            "config/models.yaml",
            f"{BASE}:\n  model_name: openai/{BASE}\n  base_url: {server.url}\n"
            f"  context_window: 2048\n  max_connections: 32\n"
            f"{ADAPTER}:\n  adapter_of: {BASE}\n  default: true\n",
        )
        project.write("config/benchmarks.yaml", f"suites:\n  seven: [{', '.join(SEVEN)}]\n")
        yield project, server


def over_all(project: Project) -> dict[str, Any]:
    """The verdict over all benchmarks of the latest run."""
    verdict: dict[str, Any] = project.reports()[-1]["suites"][ADAPTER]
    return verdict


def test_the_suite_is_judged_and_says_what_it_lacks(
    ready: tuple[Project, Server], hub: dict[str, str]
) -> None:
    """All eight are asked and kept.

    Without the package that ifeval needs the others are, and the verdict is ERROR: it is required,
    and the message says how to get it.
    """
    project, _ = ready
    outcome = project.pytest("benchmarks", "-m", "full", "--suite", "core", **hub)

    assert no_traceback(outcome.text)
    verdict = over_all(project)
    kinds = {one["name"]: one["kind"] for one in verdict["benchmarks"]}
    assert {kinds[name] for name in SEVEN} == {"PASS"}
    if HAS_IFEVAL:
        assert (outcome.code, verdict["kind"], kinds["ifeval"]) == (0, "PASS", "PASS")
        return
    assert (outcome.code, verdict["kind"], kinds["ifeval"]) == (11, "ERROR", "ERROR")
    assert "instruction_following_eval, which is not installed" in outcome.text
    assert "pip install git+https://" in outcome.text


def asked_of_base(server: Server) -> int:
    """How many of the benchmarks' questions the base has been asked."""
    bodies = [chat.body for chat in server.chats if chat.body["model"] == BASE]
    return sum(bool(solved(body["messages"][-1]["content"])) for body in bodies)


def test_a_loss_of_one_benchmark_is_found_among_the_others(
    ready: tuple[Project, Server], hub: dict[str, str]
) -> None:
    """An adapter that can't calculate any more fails by gsm8k alone.

    Without the hub, from exported questions, the verdict is the same; the base's answers are found
    in the store, so that it is asked nothing again.
    """
    project, server = ready
    server.answer = cannot_calculate
    outcome = project.pytest("benchmarks", "-m", "full", "--suite", "seven", "-n", "2", **hub)

    assert no_traceback(outcome.text)
    assert outcome.code == 1, outcome.text
    verdict = over_all(project)
    assert verdict["kind"] == "REGRESSION"
    found = {one["name"]: one["kind"] for one in verdict["benchmarks"]}
    assert {name for name, kind in found.items() if kind != "PASS"} == {"gsm8k"}

    before = asked_of_base(server)
    assert before > 6 * QUESTIONS
    exported = subprocess.run(
        [sys.executable, "-m", "capgate.cli", "questions", "export", "seven", "data/exported"],
        cwd=project.root,
        env={**os.environ, **hub},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert exported.returncode == 0, exported.stderr
    without = {**hub, "HF_HOME": str(project.root / "empty")}
    chosen = ("-m", "full", "--suite", "seven", "--dataset", "data/exported")
    again = project.pytest("benchmarks", *chosen, **without)

    assert again.code == 1, again.text
    # The preflight's probes of gsm8k and bbh are questions of theirs.
    assert asked_of_base(server) == before + 2
    assert over_all(project)["kind"] == "REGRESSION"
    assert {one["name"]: one["kind"] for one in over_all(project)["benchmarks"]} == found
