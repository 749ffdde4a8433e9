"""`capgate list-benchmarks`: what a run can ask here, and how small a drop each of it can see."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.runs import answers, keep_run
from tests.processes import run
from tests.unit.commands.conftest import Told

OURS = """
house-rules: {questions: data/house_rules.jsonl, description: "what our customers must be told"}
tickets: {task: evals/support.py@tickets, group: topic, catch: 0.07, size: 400}
fragile: {task: inspect_evals/gsm8k, size: 100, requires: {no_such_module: pip install nothing}}
suites:
  nightly: [mmlu, tickets]
"""

TICKETS = """
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import match
from inspect_ai.solver import generate


@task
def tickets():
    samples = [
        Sample(
            id=n, input=f"What is {n} + 1?", target=str(n + 1), metadata={"topic": "abc"[n % 3]}
        )
        for n in range(30)
    ]
    return Task(
        dataset=MemoryDataset(samples),
        solver=generate(),
        scorer=match(numeric=True),
        config=GenerateConfig(max_tokens=32),
    )
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with benchmarks of its own, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "benchmarks.yaml").write_text(OURS, encoding="utf-8")
    return tmp_path


def rows(told: Told, *arguments: str) -> dict[str, dict[str, Any]]:
    """The list for programs, by name."""
    found = json.loads(told("list-benchmarks", "--json", *arguments)[0])
    return {one["name"]: one for one in found["benchmarks"]}


@pytest.mark.usefixtures("project")
def test_a_table_for_people(told: Told) -> None:
    """A line for each shipped benchmark and each of the project's, then the suites."""
    lines = told("list-benchmarks")[0].splitlines()
    mmlu = next(line for line in lines if line.split()[0] == "mmlu")
    assert "13,937" in mmlu
    assert "57 / 4" in mmlu
    assert "direct" in mmlu
    ours = next(line for line in lines if line.strip().startswith("tickets (yours)"))
    assert "nightly" in ours
    assert any(line.startswith("--suite nightly: mmlu, tickets") for line in lines)
    assert any(line.startswith("--suite core: mmlu, ") for line in lines)


@pytest.mark.usefixtures("project")
def test_what_each_can_see(told: Told) -> None:
    """More questions see smaller drops, and every deciding one that ships sees its `catch`."""
    found = rows(told)
    seen = {name: one["visible"] for name, one in found.items() if one["visible"]}
    assert set(seen["gsm8k"]) == {"0.05", "0.1", "0.2"}
    assert seen["mmlu"]["0.1"] == pytest.approx(0.010, abs=0.001)
    assert seen["gsm8k"]["0.1"] == pytest.approx(0.030, abs=0.002)
    assert seen["ifeval"]["0.1"] == pytest.approx(0.048, abs=0.002)
    for name, one in found.items():
        if one["visible"] and not one["own"]:
            assert one["advisory"] or one["visible"]["0.1"] <= one["catch"], name
    assert seen["tickets"]["0.05"] < seen["tickets"]["0.1"] < seen["tickets"]["0.2"]


def test_the_policys_catch_is_in_force(project: Path, told: Told) -> None:
    """`benchmarks:` of the policy changes a benchmark's `catch`, and what it may not decide."""
    (project / "thresholds").mkdir()
    policy = "benchmarks: {gsm8k: {catch: 0.01}}\n"
    (project / "thresholds" / "policy.yaml").write_text(policy, encoding="utf-8")
    assert rows(told, "--benchmark", "gsm8k")["gsm8k"]["catch"] == 0.01
    out, _ = told("list-benchmarks", "--benchmark", "gsm8k")
    assert "gsm8k may not decide its catch: where 10 % of answers differ it sees 3.0 points" in out


@pytest.mark.usefixtures("project")
def test_a_suite_shares_the_error_budget(told: Told) -> None:
    """With a suite named, its benchmarks alone are listed, and each sees a little less."""
    alone, together = rows(told), rows(told, "--suite", "core")
    assert list(together)[:2] == ["mmlu", "hellaswag"]
    assert len(together) == 8
    for name, one in together.items():
        assert one["visible"]["0.1"] > alone[name]["visible"]["0.1"]
    _, err = told("list-benchmarks", "--suite", "cor", code=4)
    assert "core" in err


@pytest.mark.usefixtures("project")
def test_what_is_missing_here(told: Told) -> None:
    """Data, a file or a package that is not on this machine is told, with what to do about it."""
    found = rows(told)
    assert not any(found[name]["here"] for name in ("mmlu", "house-rules", "tickets", "fragile"))
    assert found["mmlu"]["remedy"].count("capgate questions export") == 1
    assert "data/house_rules.jsonl" in found["house-rules"]["missing"]
    assert "evals/support.py" in found["tickets"]["missing"]
    assert "no_such_module" in found["fragile"]["missing"]
    assert found["fragile"]["remedy"] == "pip install nothing"


def test_a_task_of_the_project(project: Path, told: Told) -> None:
    """Its file alone says little; `--details` makes the task: questions, groups, what asks them."""
    (project / "evals").mkdir()
    (project / "evals" / "support.py").write_text(TICKETS, encoding="utf-8")
    one = rows(told, "--benchmark", "tickets")["tickets"]
    assert (one["here"], one["groups"], one["runner"]) == (None, None, None)
    one = rows(told, "--benchmark", "tickets", "--details")["tickets"]
    assert (one["here"], one["questions"], one["groups"]) == (True, 30, 3)
    assert (one["runner"], one["max_tokens"]) == ("direct", 32)


@pytest.mark.usefixtures("project")
def test_details_of_what_is_here(told: Told) -> None:
    """`--details` loads the questions: the shipped 228 of MMLU's form, in their groups."""
    chosen = ("--benchmark", "mmlu", "--dataset", "bundled")
    before = rows(told, *chosen)["mmlu"]
    assert (before["here"], before["questions"], before["visible"]) == (True, None, {})
    one = rows(told, *chosen, "--details")["mmlu"]
    assert (one["questions"], one["groups"], one["parents"]) == (228, 57, 4)
    assert (one["runner"], one["runner_reason"]) == ("direct", "")
    assert one["visible"]["0.1"] > 0.05


def test_answers_are_as_long_as_they_were(project: Path, told: Told) -> None:
    """The tokens of an answer are those of the newest stored run; of others the limit is told."""
    keep_run(project, "r1", answers())
    found = rows(told)
    assert found["mmlu"]["answer_tokens"] == pytest.approx(answers()[0].completion_tokens)
    assert found["gsm8k"]["answer_tokens"] is None
    lines = told("list-benchmarks")[0].splitlines()
    assert "≤ 1,024" in next(line for line in lines if line.split()[0] == "gsm8k")


def test_every_fault_of_the_file_is_told(project: Path, told: Told) -> None:
    """A faulty file ends with usage's code, and all its faults at once."""
    file = project / "config" / "benchmarks.yaml"
    file.write_text("a: {task: x, questions: y}\nb: {catsh: 0.1, task: z}\n", encoding="utf-8")
    _, err = told("list-benchmarks", code=4)
    assert "2 faults" in err
    assert "catsh" in err


def test_it_needs_no_inspect(project: Path) -> None:
    """The list is made without importing Inspect, which takes seconds."""
    program = (
        "import sys; from capgate.cli import main; main(['list-benchmarks']); "
        "sys.exit('inspect_ai' in sys.modules)"
    )
    code, text, _ = run((sys.executable, "-c", program), project, os.environ, 60)
    assert code == 0, text
    assert "mmlu" in text


def test_questions_of_the_project_are_counted(project: Path, told: Told) -> None:
    """A file of questions tells its number and its groups; a faulty one tells its faults."""
    file = project / "data" / "house_rules.jsonl"
    file.parent.mkdir()
    lines = [
        {
            "question": f"What is rule {n}?",
            "choices": ["a", "b"],
            "answer": "A",
            "group": "ab"[n % 2],
        }
        for n in range(40)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    one = rows(told)["house-rules"]
    assert (one["here"], one["questions"], one["groups"]) == (True, 40, 2)
    assert one["visible"]["0.1"] > 0.1
    entries = project / "config" / "benchmarks.yaml"
    clusters = OURS.replace("house_rules.jsonl,", "house_rules.jsonl, cluster_pattern: '([0-9])',")
    entries.write_text(clusters, encoding="utf-8")
    assert rows(told)["house-rules"]["questions"] is None
    assert rows(told, "--benchmark", "house-rules", "--details")["house-rules"]["questions"] == 10
    file.write_text('{"question": "Why?"}\n', encoding="utf-8")
    one = rows(told)["house-rules"]
    assert not one["here"]
    assert "house_rules.jsonl" in one["missing"]
