"""Benchmarks other than MMLU, from a measured run to a baseline and to what it lets fail.

Every run is a process of its own against a real HTTP server.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Project, no_traceback, target

from capgate.cli import main

SUMS = {f"What is {a} + {b}?": a + b for a in range(2, 22) for b in range(3, 13)}
"""Questions in free text, and their answers."""

KINDS = {f"Which number follows {n}?": "even" if n % 2 else "odd" for n in range(60)}
"""Questions with two choices, and their groups; the first choice is right."""

ENTRIES = """
sums: {questions: data/sums.jsonl, catch: 0.05}
kinds: {questions: data/kinds.jsonl, catch: 0.2}
"""
BOTH = ("--benchmark", "sums", "--benchmark", "kinds")
RUN = ("benchmarks", "-k", "preflight or suite or test_group")


class Model:
    """Answers every question right, but for the sums that it has lost."""

    def __init__(self) -> None:
        self.lost = 0
        self.asked = 0

    def __call__(self, asked: dict[str, Any]) -> str:
        content = asked["messages"][-1]["content"]
        if found := re.search(r"What is \d+ \+ \d+\?", content):
            self.asked += 1
            at = list(SUMS).index(found[0]) if found[0] in SUMS else len(SUMS)
            right = SUMS.get(found[0], 8)
            return f"It is {right + (at < self.lost)}."
        return "ANSWER: B" if "even" in content else "ANSWER: A"


@pytest.fixture
def ready(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> tuple[Project, Server, Model]:
    """A target and two benchmarks that are files; the project is the working directory."""
    project.targets(double=target(server.url))
    project.write("config/benchmarks.yaml", ENTRIES)
    sums = [{"question": text, "answer": key} for text, key in SUMS.items()]
    kinds = [
        {"question": text, "choices": [str(at + 1), str(at)], "answer": "A", "group": group}
        for at, (text, group) in enumerate(KINDS.items())
    ]
    for name, rows in (("sums", sums), ("kinds", kinds)):
        project.write(f"data/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    server.answer = model = Model()
    monkeypatch.chdir(project.root)
    return project, server, model


def over_all(project: Project) -> dict[str, Any]:
    """The verdict over all benchmarks of the latest run."""
    verdict: dict[str, Any] = project.reports()[-1]["suites"]["double"]
    return verdict


def reference(project: Project, benchmark: str) -> dict[str, Any]:
    """What the latest run compared the target with on a benchmark."""
    folder = project.root / "reports" / "double"
    result = json.loads((folder / f"{benchmark}_double_latest.json").read_text())
    found: dict[str, Any] = result["reference"]
    return found


def test_a_target_is_held_to_the_baseline_of_each_benchmark(
    ready: tuple[Project, Server, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured once and recorded, a model that loses the sums fails by the sums alone."""
    project, _, model = ready
    measured = project.pytest(*RUN, *BOTH, "--measure")
    assert measured.code == 0, measured.text
    assert main(["baseline", "record", "double"]) == 0
    shown = capsys.readouterr().out
    assert "thresholds/baselines/double.sums.json: 200 questions, 100.0% correct" in shown
    assert "thresholds/baselines/double.kinds.json: 60 questions, 100.0% correct" in shown
    kept = project.pytest(*RUN, *BOTH, "--fresh")
    assert kept.code == 0, kept.text
    assert over_all(project)["kind"] == "PASS"
    model.lost = 40
    lost = project.pytest(*RUN, *BOTH, "--fresh")
    assert lost.code == 1, lost.text
    assert no_traceback(lost.text)
    verdict = over_all(project)
    assert (verdict["kind"], [one["name"] for one in verdict["benchmarks"] if one["failed"]]) == (
        "REGRESSION",
        ["sums"],
    )
    assert reference(project, "sums")["kind"] == reference(project, "kinds")["kind"] == "baseline"
    capsys.readouterr()
    assert main(["baseline", "diff", "double", "--benchmark", "sums", "--json"]) == 0
    review = json.loads(capsys.readouterr().out)
    assert review["lowers"] == ["accuracy 100.00% → 80.00%", "sums: 40 lost, 0 gained"]
    first, last = (report["run"] for report in (project.reports()[0], project.reports()[-1]))
    assert main(["compare", first, last]) == 1


def test_a_benchmark_without_a_baseline_or_floor_says_how_to_have_one(
    ready: tuple[Project, Server, Model],
) -> None:
    """The other benchmark is judged; the floor of one is the floor of no other."""
    project, _, _ = ready
    project.write("thresholds/floors.yaml", "double: {benchmarks: {kinds: {overall: 0.9}}}\n")
    outcome = project.pytest(*RUN, *BOTH, COLUMNS="400")
    assert outcome.code == 11, outcome.text
    verdict = over_all(project)
    kinds = {one["name"]: one["kind"] for one in verdict["benchmarks"]}
    assert kinds == {"sums": "ERROR", "kinds": "PASS"}
    assert "capgate baseline record double --benchmark sums" in outcome.text
    project.write(
        "thresholds/floors.yaml",
        "double: {benchmarks: {kinds: {overall: 0.6, groups: {odd: 0.6}}, sums: {overall: 0.8}}}\n",
    )
    judged = project.pytest(*RUN, *BOTH)
    assert judged.code == 0, judged.text
    found = reference(project, "sums")
    assert (found["kind"], found["accuracy"]) == ("floor", 0.8)


def test_a_second_look_at_one_benchmark_is_recorded(
    ready: tuple[Project, Server, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--twice` and `calibrate` ask the benchmark named and no other."""
    project, server, model = ready
    assert project.pytest(*RUN, *BOTH, "--measure").code == 0
    before, model.lost, model.asked = len(server.chats), 1, 0
    assert main(["baseline", "record", "double", "--benchmark", "sums", "--twice"]) == 0
    assert "asked twice: 1 answers differ" in capsys.readouterr().out
    assert model.asked >= 200
    asked = [str(chat.body) for chat in server.chats[before:]]
    assert not [body for body in asked if "Which number follows" in body]
    assert main(["calibrate", "--benchmark", "kinds", "--simulations", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["benchmark"], found["n"], found["changed"]["count"]) == ("kinds", 60, 0)
    assert main(["calibrate", *BOTH]) == 4
    assert "calibrate asks one benchmark at a time" in capsys.readouterr().err
