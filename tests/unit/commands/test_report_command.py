"""`capgate report`: a run's page and its forms for GitHub, from its `report.json`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.doubles.runs import questions
from tests.unit.commands.conftest import ADAPTER, LOST, RUN, Told

from capgate.report.data.read import read_report


def test_the_page_is_made_anew(finished: Path, told: Told) -> None:
    """The page is written over, and its path told; no other file is written."""
    folder = finished / "reports" / RUN
    (folder / "report.html").write_text("an older page")
    out, _ = told("report", "latest")
    assert out == f"written: {folder / 'report.html'}\n"
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize("name", [RUN, RUN[:16], "latest", f"reports/{RUN}/report.json"])
def test_a_run_is_named_in_several_ways(finished: Path, told: Told, name: str) -> None:
    """By its id, by how that begins, as the latest one, and by a path."""
    told("report", name)
    assert (finished / "reports" / RUN / "report.html").is_file()


def test_github_s_forms(finished: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment, the job's summary, and annotations on standard output."""
    summary = finished / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    out, _ = told("report", "latest", "--github")
    comment = (finished / "reports" / RUN / "comment.md").read_text()
    assert comment.startswith("<!-- capgate-report")
    assert "REGRESSION" in comment
    assert "REGRESSION" in summary.read_text()
    assert f"added to: {summary.name}" in out
    assert [line for line in out.splitlines() if line.startswith("::error title=capgate")]


def test_the_comment_alone(finished: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--comment` leaves out summary and annotations."""
    summary = finished / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    out, _ = told("report", "latest", "--comment")
    assert (finished / "reports" / RUN / "comment.md").is_file()
    assert not summary.exists()
    assert "::" not in out


def test_annotations_of_the_benchmark_are_kept(finished: Path, told: Told) -> None:
    """`--redux` labels the flips that it names, in the page and in `report.json`."""
    lost = questions()[LOST[0]].sample
    choices = " ".join(f"{choice!r}" for choice in lost.choices or ())
    text = str(lost.input).replace('"', '""')
    name = f"mmlu_{questions()[LOST[0]].subject}.csv"
    (finished / name).write_text(
        "question;choices;answer;error_type;source;correct_answer;potential_reason\n"
        f'"{text}";"[{choices}]";0;bad_question_clarity;;;\n'
    )
    out, _ = told("report", "latest", "--redux", name)
    data = finished / "reports" / RUN / "report.json"
    assert f"written: {data}" in out
    flips = read_report(data).comparisons[ADAPTER].flips
    noted = [flip.question for flip in flips if flip.label == "known bad label"]
    assert noted == [questions()[LOST[0]].hash]


def test_a_page_that_can_not_be_written(finished: Path, told: Told) -> None:
    """What stands in the way is told in a paragraph, with ERROR's exit code."""
    (finished / "reports" / RUN / "report.html").mkdir()
    _, err = told("report", "latest", code=11)
    assert err.startswith("capgate: the report can't be written to ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "words"), [("2001", "2001"), ("nowhere/report.json", "nowhere/report.json")]
)
@pytest.mark.usefixtures("finished")
def test_a_run_that_is_not_there(told: Told, name: str, words: str) -> None:
    """An unknown run is wrong usage, and is named."""
    _, err = told("report", name, code=4)
    assert words in err


def test_a_report_that_is_none(finished: Path, told: Told) -> None:
    """A file that was edited into nonsense is told with its name."""
    (finished / "reports" / RUN / "report.json").write_text("{}")
    _, err = told("report", RUN, code=4)
    assert "report.json" in err
