"""The trend: one row for each run, and no line between what can't be compared."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.unit.report.examples import red_report

from capgate.cli import main
from capgate.common.errors import StoreError
from capgate.report.data.history import FILE, add_run, by_series, entries, read_history
from capgate.report.data.result import Report
from capgate.report.page.charts import trend_chart
from capgate.report.page.html import render_html


def changed(report: Report, run: str, finished: str, **changes: object) -> Report:
    """The same run at another time, with something else about it."""
    result = report.targets["mine"].model_copy(update={"timestamp": finished, **changes})
    return report.model_copy(update={"run": run, "targets": {"mine": result}})


def test_each_run_is_one_row(tmp_path: Path) -> None:
    """A run written twice replaces its row; rows come oldest first."""
    file = tmp_path / "reports" / FILE
    assert read_history(file) == []
    for run, finished in (("b", "2026-02-01T00:00:00Z"), ("a", "2026-01-01T00:00:00Z")):
        add_run(file, changed(red_report(), run, finished))
        add_run(file, changed(red_report(), run, finished))
    rows = read_history(file, "mine")
    assert [row.run for row in rows] == ["a", "b"]
    assert (rows[0].verdict, rows[0].accuracy, rows[0].complete) == ("REGRESSION", 0.6, True)
    verdict = red_report().targets["mine"].verdict
    assert verdict is not None
    interval = verdict["interval"]
    assert (rows[0].drop_low, rows[0].drop_high) == (interval["low"], interval["high"])
    assert read_history(file, "other") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": {"source": "hub", "digest": "other"}},
        {"prompt_hash": "other"},
        {"identity": {"versions": {"inspect_evals": "2"}, "generation": {"temperature": 0.0}}},
        {"identity": {"versions": {"inspect_evals": "1"}, "generation": {"temperature": 1.0}}},
        {"task": "other/mmlu"},
        {"mode": "quick"},
        {"limit": 100},
    ],
)
def test_what_can_not_be_compared_is_never_joined(changes: dict[str, object]) -> None:
    """Another data set, prompt, scorer, generation or selection begins a line of its own."""
    runs = [
        changed(red_report(), "a", "2026-01-01T00:00:00Z"),
        changed(red_report(), "b", "2026-01-02T00:00:00Z", **changes),
        changed(red_report(), "c", "2026-01-03T00:00:00Z"),
    ]
    rows = [entry for run in runs for entry in entries(run)]
    assert [[row.run for row in group] for group in by_series(rows).values()] == [["a", "c"], ["b"]]
    chart = trend_chart(rows, "c")
    assert chart is not None
    assert [len(line.marks) for line in chart.lines] == [2, 1]
    assert [point.here for line in chart.lines for point in line.marks] == [False, True, False]


def test_newer_packages_do_not_begin_a_line_of_their_own() -> None:
    """Runs whose answers were read alike are on one line, also those without a scorer hash."""
    known = {"task": "t@1", "scorer": "3a62ffba59e1b87c"}
    versions = [
        {"task": "t@1", "inspect_ai": "0.3.285", "inspect_evals": "0.26.0"},
        {**known, "inspect_ai": "0.3.285", "inspect_evals": "0.26.0"},
        {**known, "inspect_ai": "99.0", "inspect_evals": "99.0"},
        {**known, "inspect_ai": "99.0", "inspect_evals": "99.0", "scorer": "0" * 16},
    ]
    rows = [
        entry
        for day, found in enumerate(versions, start=1)
        for entry in entries(
            changed(
                red_report(),
                f"run-{day}",
                f"2026-01-0{day}T00:00:00Z",
                identity={"versions": found, "generation": {"temperature": 0.0}},
            )
        )
    ]
    assert sorted(len(group) for group in by_series(rows).values()) == [1, 3]


def test_a_newer_or_foreign_file_is_refused(tmp_path: Path) -> None:
    """Nothing in it is changed."""
    file = tmp_path / FILE
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE theirs (a)")
    with pytest.raises(StoreError, match="schema 0"):
        add_run(file, red_report())
    file.unlink()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="Upgrade"):
        read_history(file)
    file.write_bytes(b"no database at all, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match="can't be read"):
        read_history(file)


def test_what_could_not_be_asked_has_its_row(tmp_path: Path) -> None:
    """A target that ended in ERROR before any question has a row, which is on no line."""
    report = red_report().model_copy(
        update={"not_judged": {"mine+gone": {"kind": "ERROR", "reasons": ["there is none"]}}}
    )
    add_run(tmp_path / FILE, report)
    (row,) = read_history(tmp_path / FILE, "mine+gone")
    assert (row.verdict, row.questions, row.accuracy) == ("ERROR", 0, None)
    assert trend_chart([row], report.run) is None


def base_run(run: str, finished: str, **changes: object) -> Report:
    """A run in which `base` is only what an adapter is compared with."""
    report = red_report()
    (comparison,) = report.comparisons.values()
    comparison = comparison.model_copy(update={"reference": {"kind": "base", "target": "base"}})
    result = report.targets["mine"].model_copy(
        update={"timestamp": finished, "verdict": None, **changes}
    )
    return report.model_copy(
        update={"run": run, "targets": {"base": result}, "comparisons": {"mine": comparison}}
    )


def shown(folder: Path, capsys: pytest.CaptureFixture[str], target: str) -> list[str]:
    """What `capgate history` shows of a target."""
    capsys.readouterr()
    assert main(["history", target, "--output-dir", str(folder)]) == 0
    return capsys.readouterr().out.splitlines()


def test_rows_of_a_base_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each run on an adapter has a row of its base; `history` tells them together."""
    for day in range(1, 15):
        run = base_run(f"r{day:02d}", f"2026-01-{day:02d}T00:00:00Z")
        add_run(tmp_path / FILE, run)
    lines = shown(tmp_path, capsys, "base")
    assert len(lines) == 3
    assert "measured" in lines[2]
    assert lines[2].endswith("(14 runs since 2026-01-01)")


def test_a_measurement_of_its_own_keeps_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--measure` runs that asked something are a trend, and stay apart."""
    for day in (1, 2, 3):
        run = changed(red_report(), f"r{day}", f"2026-01-0{day}T00:00:00Z", verdict=None)
        add_run(tmp_path / FILE, run)
    assert len(shown(tmp_path, capsys, "mine")) == 5


def test_adapters_of_one_name_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folders of one name are two models, each with a heading that names its content."""
    known = red_report().targets["mine"].identity
    for run, digest in (("r1", "a" * 64), ("r2", "b" * 64), ("r3", "a" * 64)):
        identity = {**known, "identity": {"adapter_digest": digest}}
        report = changed(red_report(), run, f"2026-01-0{run[1]}T00:00:00Z", identity=identity)
        add_run(tmp_path / FILE, report)
    lines = shown(tmp_path, capsys, "mine")
    assert [line.split("adapter ")[1] for line in lines if "adapter " in line] == [
        "a" * 12,
        "b" * 12,
    ]
    assert [line.split()[-1] for line in lines if "REGRESSION" in line] == ["r1", "r3", "r2"]


def test_a_run_that_asked_nothing_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In `history`, and in the table and the chart of the page."""
    whole = red_report().targets["mine"].overall
    found = whole.model_copy(update={"asked": 0})
    report = changed(red_report(), "r1", "2026-01-01T00:00:00Z", overall=found)
    add_run(tmp_path / FILE, report)
    (line,) = (one for one in shown(tmp_path, capsys, "mine") if "REGRESSION" in one)
    assert line.endswith("r1  0 asked")
    page = render_html(report, read_history(tmp_path / FILE))
    assert "<small>0 asked</small>" in page


def test_a_trend_of_an_older_capgate_is_carried_on(tmp_path: Path) -> None:
    """Its rows are read, and new ones stand beside them."""
    file = tmp_path / FILE
    add_run(file, changed(red_report(), "r1", "2026-01-01T00:00:00Z"))
    with sqlite3.connect(file) as db:
        for column in ("asked_now", "role", "earlier", "newest_earlier", "drop_low", "drop_high"):
            db.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 1")
    add_run(file, changed(red_report(), "r2", "2026-01-02T00:00:00Z"))
    old, new = read_history(file)
    assert (old.run, old.asked_now, old.role) == ("r1", None, "")
    assert (old.drop_low, old.drop_high) == (None, None)
    assert (new.run, new.asked_now) == ("r2", red_report().targets["mine"].overall.asked)


def test_a_row_says_how_old_its_answers_are(tmp_path: Path) -> None:
    """A row tells how many of its answers are from earlier runs, and when the newest came."""
    file = tmp_path / FILE
    questions = red_report().targets["mine"].overall.questions
    old = {"earlier": questions, "newest_earlier": "2026-01-01T00:00:00Z"}
    add_run(file, changed(red_report(), "a", "2026-01-01T00:00:00Z"))
    add_run(file, changed(red_report(), "b", "2026-01-02T00:00:00Z", **old))
    add_run(file, changed(red_report(), "c", "2026-01-03T00:00:00Z", **(old | {"earlier": 1})))
    assert [row.age.removeprefix("0 asked: ") for row in read_history(file)] == [
        "",
        "all answers from earlier runs, newest 2026-01-01T00:00:00Z",
        "1 answers from earlier runs, newest 2026-01-01T00:00:00Z",
    ]
