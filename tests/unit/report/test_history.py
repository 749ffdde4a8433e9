"""The trend: one row for each run, and no line between what can't be compared."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.unit.report.examples import red_report

from capgate.errors import StoreError
from capgate.report.charts import trend_chart
from capgate.report.history import FILE, add_run, by_series, entries, read_history
from capgate.report.result import Report


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
