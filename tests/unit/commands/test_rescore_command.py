"""`capgate rescore`: stored answers read again by today's scorer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.doubles.runs import answers, keep_run, questions

from capgate.asking.progress import Count
from capgate.cli import main


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


def test_scoring_again_tells_how_far_it_is(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line at its start and then every few seconds, beside and not within its output."""
    monkeypatch.setitem(Count.__init__.__kwdefaults__, "every", 0.0)
    keep_run(project, "r1", answers())
    assert main(["rescore", "r1", "--json"]) == 0
    out, progress = capsys.readouterr()
    assert json.loads(out)["rescored"][0]["n"] == 228
    lines = progress.splitlines()
    assert lines[0].endswith(": 228 answers")
    assert "  228/228 answers" in lines[-1]


def test_today_s_scorer_reads_what_was_read(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain answers, wordy ones and nonsense are read through upstream's own code."""
    key = str(questions()[0].sample.target)
    keep_run(project, "r1", answers(lost=range(9, 20), texts={1: "no idea", 2: ""}))
    found = printed(capsys, 0, "rescore", "r1")["rescored"][0]
    assert (found["n"], found["harness_moved"], found["prompt_changed"]) == (228, 0.0, False)
    # Recorded as unparsed, though today's scorer finds the letter in it.
    keep_run(project, "r2", answers(texts={0: f"I think.\nANSWER: {key}"}))
    found = printed(capsys, 1, "rescore", "r2")["rescored"][0]
    assert found["harness_moved"] == pytest.approx(1 / 228)
    (one,) = found["read_otherwise"]
    assert (one["then"], one["now"], one["now_choice"]) == ("unparsed", "correct", key)


def test_the_harness_s_move_is_told_from_the_model_s(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A baseline scored again, and the newest run by the same scorer: two figures, not one."""
    asked = questions()
    read_before = {at: f"Well: ANSWER: {asked[at].sample.target}" for at in range(4)}
    keep_run(
        project,
        "r1",
        answers(texts=read_before),
        facts={"versions": {"task": "mmlu@1", "inspect_ai": "0.3.1"}},
        prompt_hash="0" * 16,
    )
    assert main(["baseline", "record", "mine"]) == 0
    keep_run(project, "r2", answers(lost=range(10, 12)))
    found = printed(capsys, 1, "rescore", "--baseline", "mine")
    first = found["rescored"][0]
    assert first["harness_moved"] == pytest.approx(4 / 228)
    assert first["prompt_changed"]
    assert "inspect_ai: 0.3.1 →" in first["version_change"]
    assert found["model"]["moved"] == pytest.approx(-2 / 228)
    assert (found["model"]["losses"], found["model"]["gains"]) == (2, 0)
    assert main(["rescore", "--baseline", "mine"]) == 1
    shown = capsys.readouterr().out
    assert "the harness moved +1.8 points, the model -0.9 points" in shown
    assert "the prompt has changed" in shown


def test_a_baseline_is_scored_without_its_store(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file alone suffices, but for texts too long to keep; those are counted."""
    keep_run(project, "r1", answers(texts={0: "x" * 5000, 1: "short"}))
    assert main(["baseline", "record", "mine"]) == 0
    assert printed(capsys, 0, "rescore", "--baseline", "mine")["rescored"][0]["n"] == 228
    (project / "reports" / "answers.sqlite").unlink()
    alone = printed(capsys, 0, "rescore", "--baseline", "mine")["rescored"][0]
    assert (alone["n"], alone["texts_not_kept"]) == (227, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing was named"),
        (("r9",), "has no run r9"),
        (("--baseline", "mine"), "there is no baseline"),
        (("r1", "--dataset", "nowhere"), "nowhere does not exist"),
    ],
)
def test_what_cannot_be_scored_again_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """Missing runs, baselines and data sets end with usage's code."""
    keep_run(project, "r1", answers())
    assert main(["rescore", *arguments]) == 4
    assert said in capsys.readouterr().err
