"""`capgate history`: a target's runs over time, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.commands.conftest import ADAPTER, BASE, RUN, Told

from capgate.report.data.history import FILE


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
