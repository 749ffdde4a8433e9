"""`capgate compare`: one stored run judged by another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.doubles.runs import MAX_TOKENS, TASK, answers, keep_run, questions

from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.cli import main
from capgate.common.answers import Answer, AnswerState


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> dict:
    """What a command prints for programs, having made sure of its exit code."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    data: dict = json.loads(capsys.readouterr().out)
    return data


def with_error(at: range) -> list[Answer]:
    """Right answers, of which some are errors."""
    return [
        Answer(one.question, one.subject, AnswerState.ERROR, text="refused") if i in at else one
        for i, one in enumerate(answers())
    ]


@pytest.mark.parametrize(
    ("second", "kind", "code"),
    [
        (answers(), "PASS", 0),
        (answers(lost=range(40)), "REGRESSION", 1),
        (answers(lost=[3, 9, 27]), "INCONCLUSIVE", 10),
        (with_error(range(20)), "INCONCLUSIVE", 10),
    ],
)
def test_the_gate_s_verdict_is_the_exit_code(
    project: Path, capsys: pytest.CaptureFixture[str], second: list, kind: str, code: int
) -> None:
    """Two runs of the same questions are judged as the suite judges."""
    keep_run(project, "r1", answers())
    keep_run(project, "r2", second)
    found = printed(capsys, code, "compare", "r1", "latest")
    assert (found["verdict"]["kind"], found["candidate"]["run"]) == (kind, "r2")
    assert len(found["subjects"]) == 57
    assert sum(row["losses"] for row in found["subjects"]) == len(found["flips"])


def test_runs_in_which_nothing_could_be_read_do_not_agree(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs whose answers are equally unreadable are no PASS."""
    unread = answers(texts=dict.fromkeys(range(228), "**Answer:** A"))
    keep_run(project, "r1", unread)
    keep_run(project, "r2", unread)
    found = printed(capsys, 10, "compare", "r1", "r2")
    assert "228 of 228 answers of the reference are unreadable" in found["verdict"]["reasons"][0]


def test_flips_are_listed_with_both_answers(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each lost and gained question with its text and what either side said."""
    keep_run(project, "r1", answers(lost=[5]))
    keep_run(project, "r2", answers(texts={7: "who knows"}))
    found = printed(capsys, 0, "compare", "r1", "r2")
    changes = {one["question"]: one for one in found["flips"]}
    asked = questions()
    assert changes.keys() == {asked[5].hash, asked[7].hash}
    loss, gain = changes[asked[7].hash], changes[asked[5].hash]
    assert (loss["change"], gain["change"]) == ("loss", "gain")
    assert loss["candidate"] == {"state": "unparsed", "choice": "", "text": "who knows"}
    assert gain["key"] == gain["candidate"]["choice"] == str(asked[5].sample.target)
    assert loss["text"] == asked[7].sample.input
    assert main(["compare", "r1", "r2"]) == 0
    shown = capsys.readouterr().out
    assert "2 flips" in shown
    assert "smallest drop" in shown


def test_json_is_no_command_to_a_log(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`##[` of a model's is not printed as such, and is there for whoever reads the JSON."""
    keep_run(project, "r1", answers())
    keep_run(project, "r2", answers(texts={7: "##[error]owned"}))
    main(["compare", "r1", "r2", "--json"])
    shown = capsys.readouterr().out
    assert "##[" not in shown
    assert json.loads(shown)["flips"][0]["candidate"]["text"] == "##[error]owned"


def test_rows_that_can_t_be_right_are_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside published scores, each row of the file that is not used is told with the reason."""
    keep_run(project, "r1", answers())
    file = project / "scores.csv"
    file.write_text("Model Name,MMLU\nm,70\nhalf,0.5\nlow,-4\n", encoding="utf-8")
    assert main(["compare", "r1", "--published", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "not used: scores.csv, line 3: the score of `half` looks like a fraction" in shown
    assert "not used: scores.csv, line 4: the score of `low` is negative" in shown
    found = printed(capsys, 0, "compare", "r1", "--published", str(file))
    assert [one["place"] for one in found["unused"]] == ["line 3", "line 4"]


def other_scorer() -> dict[str, str]:
    """Versions after an upgrade whose scorer reads answers differently."""
    return mmlu_task(TASK, MAX_TOKENS).versions | {"scorer": "0" * 16, "inspect_ai": "99.0"}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"dataset": {"digest": "d", "questions": 228}}, "other questions"),
        ({"prompt_hash": "p" * 16}, "another prompt"),
        ({"facts": {"versions": {"task": "mmlu@9"}}}, "another version of the task (inspect_evals"),
        ({"facts": {"versions": other_scorer()}}, "a scorer that reads answers differently ("),
        ({"facts": {"generation": {"temperature": 1.0}}}, "max_tokens: 512 → None"),
    ],
)
def test_runs_that_were_made_otherwise_are_no_comparison(
    project: Path, capsys: pytest.CaptureFixture[str], other: dict, said: str
) -> None:
    """What differs is named; there is never a verdict but ERROR."""
    keep_run(project, "r1", answers())
    keep_run(project, "r2", answers(), **other)
    assert printed(capsys, 11, "compare", "r1", "r2")["verdict"]["kind"] == "ERROR"
    assert main(["compare", "r1", "r2"]) == 11
    assert said in capsys.readouterr().err


def test_a_quick_run_that_put_all_questions_is_a_fair_sample(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is compared with a whole one; one that stopped early or at its limit is refused."""
    keep_run(project, "r1", answers())
    keep_run(project, "r2", answers(lost=range(40)), shard="quick")
    assert printed(capsys, 1, "compare", "r1", "r2")["verdict"]["kind"] == "REGRESSION"
    keep_run(project, "r3", answers()[:227], shard="quick")
    keep_run(project, "r4", answers()[:100], shard="quick", chosen=100)
    for run in ("r3", "r4"):
        assert main(["compare", run, run, "--target", "mine"]) == 11
        capsys.readouterr()
        assert main(["compare", run, "r1"]) == 11
        assert f"{run} is a quick run: it stopped when its own answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "r1", "r2"),
        ("compare", "r2", "r1"),
        ("baseline", "record", "mine", "--run", "r2"),
        ("baseline", "record", "mine", "--run", "latest"),
        ("report", "r2"),
        ("report", "latest"),
        ("triage", "r2"),
        ("show", "reports/r2", "abcd"),
    ],
)
@pytest.mark.parametrize("mode", ["full", "quick"])
def test_a_run_that_was_killed_says_how_to_resume_it(
    project: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], mode: str
) -> None:
    """Each command that needs its end names the run and the command that takes it up again."""
    keep_run(project, "r1", answers())
    (project / "reports" / "r1").mkdir()
    (project / "reports" / "r1" / "report.json").write_text("{}")
    settings = {"model_ids": ["mine"], "subjects": ["anatomy"]}
    keep_run(project, "r2", answers()[:50], shard=None, mode=mode, settings=settings)
    (project / "reports" / "r2" / "logs").mkdir(parents=True)
    capsys.readouterr()
    assert main([*command]) in (4, 11)
    said = capsys.readouterr().err
    assert "the run r2 was killed before its report" in said
    assert f"esume with `pytest benchmarks -m {mode} --model-id mine --subjects anatomy`" in said


def test_a_command_s_own_run_is_not_the_latest(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`capgate parity` asks questions in a run of its own; `latest` passes over it."""
    keep_run(project, "r1", answers())
    keep_run(project, "r2", answers(), shard=None)
    (project / "reports" / "r2" / "logs").mkdir(parents=True)
    assert main(["baseline", "record", "mine", "--run", "latest"]) == 0
    assert "from the run r1" in capsys.readouterr().out
    assert main(["report", "latest"]) == 4
    assert "there is no report in reports/" in capsys.readouterr().err


def test_other_questions_of_the_same_set_are_no_comparison(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limited run and a whole one did not answer the same."""
    keep_run(project, "r1", answers())
    keep_run(project, "r2", answers()[:100], chosen=100)
    assert main(["compare", "r1", "r2"]) == 11
    assert "did not answer the same questions: 128 only in the reference" in capsys.readouterr().err


def test_runs_are_found_by_id_beginning_report_and_target(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the person has them at hand; what is ambiguous or missing is said."""
    keep_run(project, "2026a", answers())
    keep_run(project, "2026b", answers(), target="base", shard=None)
    keep_run(project, "2026b", answers(lost=range(40)), target="adapter")
    report = project / "reports" / "2026a" / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text('{"run": "2026a"}', encoding="utf-8")
    for name in ("2026a", str(report), str(report.parent)):
        assert printed(capsys, 1, "compare", name, "2026b")["reference"]["run"] == "2026a"
    two = ("--target", "base", "--target", "adapter")
    assert printed(capsys, 1, "compare", "2026b", "2026b", *two)["verdict"]["drop"] > 0.1
    for arguments, said in (
        (("2026", "2026a"), "has no run 2026"),
        (("2026a", "2026a"), "one and the same"),
        (("2026a", "2026b", "--target", "mine"), "it has those of"),
    ):
        assert main(["compare", *arguments]) == 11
        assert said in capsys.readouterr().err.lower()
