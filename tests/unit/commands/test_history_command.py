"""`capgate history`: a target's runs over time, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.commands.conftest import ADAPTER, BASE, RUN, Told

from capgate.report.data.build import build_report
from capgate.report.data.history import FILE, add_run
from capgate.store.answer_store import Store


@pytest.mark.usefixtures("finished")
def test_each_target_has_its_runs(told: Told) -> None:
    """A heading for each target, what it was asked, and a line for each run."""
    lines = told("history")[0].splitlines()
    assert [line for line in lines if line[0] != " "] == [BASE, ADAPTER]
    (red,) = (line for line in lines if "REGRESSION" in line)
    # One question has no answer.
    assert red.endswith(f"{RUN}  partial")
    assert "228 questions" in red
    (base,) = (line for line in lines if "measured" in line)
    assert RUN in base


@pytest.mark.usefixtures("finished")
def test_one_target(told: Told) -> None:
    """A target that is named stands alone; one that no run judged is told so."""
    assert BASE not in told("history", ADAPTER)[0].splitlines()
    assert told("history", "nobody")[0] == "no run of nobody yet\n"


@pytest.mark.usefixtures("finished")
def test_rows_for_programs(told: Told) -> None:
    """`--json` prints one object a line."""
    rows = {
        row["target"]: row for row in map(json.loads, told("history", "--json")[0].splitlines())
    }
    assert set(rows) == {BASE, ADAPTER}
    mine = rows[ADAPTER]
    assert (mine["run"], mine["verdict"], mine["questions"]) == (RUN, "REGRESSION", 228)
    assert mine["low"] < mine["accuracy"] < mine["high"]


@pytest.mark.usefixtures("finished")
def test_nothing_yet(told: Told) -> None:
    """A project without runs is told so; that is no fault, and no row for programs."""
    assert told("history", "--output-dir", "elsewhere")[0] == "no run yet\n"
    assert told("history", "--output-dir", "elsewhere", "--json")[0] == ""


def test_a_trend_that_is_none(finished: Path, told: Told) -> None:
    """A file that is no database is named, without a traceback."""
    (finished / "reports" / FILE).write_text("not a database, and longer than a header is\n" * 50)
    _, err = told("history", code=4)
    assert FILE in err
    assert "Traceback" not in err


def test_one_benchmark(with_sums: Path, told: Told) -> None:
    """`--benchmark` leaves that benchmark's rows; the verdict over all is of none."""
    with Store(with_sums / "reports" / "answers.sqlite") as store:
        add_run(with_sums / "reports" / FILE, build_report(store, RUN, complete=True))
    rows = [json.loads(row) for row in told("history", ADAPTER, "--json")[0].splitlines()]
    assert {row.get("benchmark", "mmlu") for row in rows} >= {"mmlu", "sums"}
    out, _ = told("history", ADAPTER, "--benchmark", "sums", "--json")
    assert [json.loads(row)["benchmark"] for row in out.splitlines()] == ["sums"]
    assert told("history", "--benchmark", "gsm8k")[0] == "no run on gsm8k yet\n"
