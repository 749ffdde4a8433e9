"""The story at a run's end on the terminal."""

from __future__ import annotations

from pathlib import Path

from tests.unit.report.examples import flip, red_report

from capgate.gate.verdict import Verdict
from capgate.report.text.advice import next_steps
from capgate.report.text.terminal import logs_line, render_report


def test_what_could_not_be_judged_is_named_at_the_end(tmp_path: Path) -> None:
    """With the fault's words, neutralised, and what to do."""
    verdict = Verdict.of_error("nobody \x1b[31mlistens", scope="suite").to_dict()
    report = red_report().model_copy(
        update={"targets": {}, "comparisons": {}, "not_judged": {"mine": verdict}}
    )
    lines = render_report(report, [], root=tmp_path)
    assert lines[:2] == ["ERROR: mine", "  nobody \\x1b[31mlistens"]
    assert lines[2].startswith("  next:  Mend the fault")


def test_the_story_of_a_red_target_fits_25_lines(tmp_path: Path) -> None:
    """However many subjects failed and labels there are."""
    subjects = ("anatomy", "astronomy", "marketing", "nutrition", "sociology", "virology")
    flips = [flip(at, subject=subjects[at % 6]) for at in range(240)]
    lines = render_report(red_report(flips), [tmp_path / "a"] * 4, root=tmp_path)
    story = [line for line in lines[lines.index("REGRESSION: mine") :] if line]
    assert len(story) < 25
    assert "         and 2 more subjects" in lines


def test_the_command_that_shows_the_logs_can_be_pasted(tmp_path: Path) -> None:
    """A folder with a space in its name is quoted; without logs there is none."""
    assert logs_line(tmp_path / "logs", tmp_path) == []
    (tmp_path / "my logs").mkdir()
    assert logs_line(tmp_path / "my logs", tmp_path) == [
        "logs:    inspect view --log-dir 'my logs'"
    ]


def test_old_answers_are_said_beside_the_table(tmp_path: Path) -> None:
    """The table and the measured figures say how many answers are from earlier runs."""
    report = red_report()
    mine = report.targets["mine"]
    old = {"earlier": mine.overall.questions, "newest_earlier": "2026-01-01T00:00:00Z"}
    aged = report.model_copy(update={"targets": {"mine": mine.model_copy(update=old)}})
    lines = render_report(aged, [], root=tmp_path)
    assert "all from earlier runs (newest 2026-01-01T00:00:00Z)" in lines[0]
    assert sum("all from earlier runs" in line for line in lines) == 2
    assert not any("earlier runs" in line for line in render_report(report, [], root=tmp_path))


def test_an_adapter_judged_by_its_name_is_not_said_to_be_kept(tmp_path: Path) -> None:
    """Its answers count in no other run, so nothing says that they are not asked again."""
    report = red_report()
    mine = report.targets["mine"]
    named = mine.model_copy(
        update={
            "identity": {**mine.identity, "identity": {"adapter_nonce": "0"}},
            "verdict": {**(mine.verdict or {}), "scope": "quick"},
        }
    )
    partial = report.model_copy(update={"complete": False})
    kept = "\n".join(render_report(partial, [], root=tmp_path))
    anew = "\n".join(
        render_report(partial.model_copy(update={"targets": {"mine": named}}), [], root=tmp_path)
    )
    assert "the next one asks only the rest." in kept
    assert "asks all its questions again" not in kept
    assert "asks only the rest, and mine anew: name the adapter's folder to keep its" in anew
    assert next_steps(named.verdict, None, mine)[-1].endswith("is not asked again.")
    assert next_steps(named.verdict, None, named)[-1].endswith(
        "each run asks all its questions again; name the adapter's folder to keep its answers."
    )
