"""`capgate plan`: what a verdict on a target will take, told before anything is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.doubles.runs import answers, keep_run

from capgate.cli import main
from capgate.gate.power import visible_drop

MODELS = """
mine: {model_name: m, base_url: "http://127.0.0.1:1/v1", dataset: bundled, max_connections: 8}
theirs: {adapter_of: mine}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a base and an adapter, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "models.yaml").write_text(MODELS, encoding="utf-8")
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    """The plan for the one target that is named."""
    capsys.readouterr()
    assert main(["plan", "--json", *arguments]) == 0
    (plan,) = json.loads(capsys.readouterr().out).values()
    found: dict = plan
    return found


@pytest.mark.usefixtures("project")
def test_a_plan_without_history_names_its_assumptions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every figure that nobody measured is marked as assumed; an adapter's base is asked too."""
    plan = planned(capsys, "--model-id", "mine", "--adapter-name", "theirs")
    assert plan["reference"] == "base"
    assert plan["figure"] == {
        "value": 0.1,
        "source": "no earlier run tells",
        "assumed": True,
    }
    assert all(plan["rates"][name]["assumed"] for name in ("prompt_tokens", "seconds"))
    assert plan["whole"]["questions"] == 228
    each = sum(plan["rates"][name]["value"] for name in ("prompt_tokens", "completion_tokens"))
    assert plan["whole"]["tokens"] == pytest.approx(2 * 228 * each)
    assert main(["plan", "--model-id", "theirs"]) == 0
    assert "ASSUMED" in capsys.readouterr().out


def test_a_plan_rests_on_earlier_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens and pace of the newest run; and the drop that a fixed test can see."""
    keep_run(project, "r1", answers())
    plan = planned(capsys, "--model-id", "mine", "--baseline", "--discordance", "0.05")
    rates = plan["rates"]
    assert (rates["prompt_tokens"]["value"], rates["prompt_tokens"]["source"]) == (
        100,
        "the run r1",
    )
    assert rates["seconds"]["value"] == pytest.approx(11.4 / 228)
    assert plan["whole"]["seconds"] == pytest.approx(11.4)
    assert plan["figure"]["source"] == "--discordance"
    assert plan["visible"] == visible_drop(228, discordance=0.05, alpha=0.025, power=0.95)
    # Four questions of a subject show nothing at 1/57 of a quarter of 5 %.
    assert set(plan["subjects"].values()) == {None}
    assert plan["quick"][0]["mean"]["questions"] <= plan["quick"][0]["q90"]["questions"] <= 228


def test_subjects_alike_have_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """57 subjects of four questions, of which none can show anything, are one line of a plan."""
    keep_run(project, "r1", answers())
    capsys.readouterr()
    assert main(["plan", "--model-id", "mine", "--adapter-name", "theirs"]) == 0
    shown = capsys.readouterr().out
    assert "  by subject alone:\n    57 subjects of 4 questions each: none\n" in shown
    assert "anatomy" not in shown


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model-id", "mine"), "nothing to be compared with"),
        (("--model-id", "mien"), "Did you mean mine"),
        (("--model-id", "mine", "--baseline", "--published", "x.csv"), "two references"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """Unknown targets and missing references end with usage's code."""
    assert main(["plan", *arguments]) == 4
    assert said in capsys.readouterr().err


def house_rules(project: Path, questions: int = 60) -> None:
    """Gives the project a benchmark of its own."""
    lines = [
        {"question": f"What is rule {n}?", "choices": ["this", "that"], "answer": "A"}
        for n in range(questions)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (project / "rules.jsonl").write_text(text, encoding="utf-8")
    entry = "house-rules: {questions: rules.jsonl, catch: 0.05}\n"
    (project / "config" / "benchmarks.yaml").write_text(entry, encoding="utf-8")


SEVERAL = ("--model-id", "theirs", "--benchmark", "mmlu", "--benchmark", "house-rules")


def test_a_plan_of_several_benchmarks(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a plan within its share of the error budget, and all have one sum."""
    house_rules(project)
    alone = planned(capsys, "--model-id", "theirs")
    found = planned(capsys, *SEVERAL)
    mmlu, ours = found["benchmarks"]["mmlu"], found["benchmarks"]["house-rules"]
    assert list(found["benchmarks"]) == ["mmlu", "house-rules"]
    assert found["whole"]["questions"] == 228 + 60
    assert found["whole"]["tokens"] == mmlu["whole"]["tokens"] + ours["whole"]["tokens"]
    assert mmlu["visible"] > alone["visible"]
    assert ours["subjects"] == {}
    quick = [mmlu["quick"][0]["mean"]["questions"] + ours["quick"][0]["mean"]["questions"]]
    assert found["quick"][0]["questions"] == pytest.approx(quick[0])


def test_a_benchmark_that_cannot_decide_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """60 questions can't show a drop of 5 points: the plan says so, and what to do about it."""
    house_rules(project)
    assert planned(capsys, *SEVERAL)["benchmarks"]["house-rules"]["decides"] is False
    capsys.readouterr()
    assert main(["plan", *SEVERAL]) == 0
    shown = capsys.readouterr().out
    assert "theirs: one verdict over 2 benchmarks" in shown
    assert "house-rules can't decide its catch of 5 points: its 60 questions" in shown
    assert "* ASSUMED of mmlu, house-rules: differ 10% (no earlier run tells)" in shown
    policy = (
        "benchmarks:\n"
        "  house-rules: {advisory: true, reason: few questions}\n"
        "  mmlu: {catch: 0.2, reason: few questions}\n"
    )
    (project / "thresholds").mkdir()
    (project / "thresholds" / "policy.yaml").write_text(policy, encoding="utf-8")
    assert main(["plan", *SEVERAL]) == 0
    assert "can't decide" not in capsys.readouterr().out


def test_a_benchmark_whose_questions_are_missing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are planned, the missing one is told, and the exit code says so."""
    house_rules(project)
    (project / "rules.jsonl").unlink()
    capsys.readouterr()
    assert main(["plan", *SEVERAL]) == 4
    shown = capsys.readouterr().out
    assert "house-rules is missing, so there would be no verdict" in shown
    assert "rules.jsonl" in shown
    assert main(["plan", "--json", *SEVERAL]) == 4
    (found,) = json.loads(capsys.readouterr().out).values()
    assert found["benchmarks"]["mmlu"]["whole"]["questions"] == 228
    assert "rules.jsonl" in found["benchmarks"]["house-rules"]["missing"]


def test_an_earlier_run_of_a_benchmark_is_its_own(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What MMLU's answers took says nothing of another benchmark's."""
    house_rules(project)
    keep_run(project, "r1", answers(), target="theirs")
    found = planned(capsys, *SEVERAL)["benchmarks"]
    assert not found["mmlu"]["rates"]["prompt_tokens"]["assumed"]
    assert found["house-rules"]["rates"]["prompt_tokens"]["assumed"]
