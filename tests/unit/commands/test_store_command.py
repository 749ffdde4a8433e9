"""`capgate store merge`: what it says, and that a merged store serves the other commands."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from tests.doubles.runs import answers, keep_run
from tests.unit.commands.conftest import ADAPTER, BASE, RUN, Told


def test_the_store_of_another_machine_is_put_in(finished: Path, told: Told) -> None:
    """Its runs and answers are there, once however often it is merged; it stays as it is."""
    other = finished / "other"
    keep_run(other, "20260102T000000Z-0002", answers(), target="elsewhere")
    store = other / "reports" / "answers.sqlite"
    before = store.read_bytes()
    out, _ = told("store", "merge", str(store), "--into", "reports/answers.sqlite")
    n = len(answers())
    assert out == f"reports/answers.sqlite: {3 * n:,} answers ({n:,} new) of 2 runs (1 new)\n"
    out, _ = told("store", "merge", str(store), "--into", "reports/answers.sqlite", "--json")
    assert json.loads(out) == {
        "into": "reports/answers.sqlite",
        "answers": 3 * n,
        "new_answers": 0,
        "runs": 2,
        "new_runs": 0,
    }
    assert store.read_bytes() == before


def test_commands_read_a_merged_store(finished: Path, told: Told) -> None:
    """A report is made of a run that was made elsewhere, as it was there."""
    apart = finished / "merged.sqlite"
    told("store", "merge", "reports/answers.sqlite", "--into", str(apart))
    there, _ = told("triage", RUN, "--target", ADAPTER)
    shutil.rmtree(finished / "reports" / ".answers.sqlite.claims", ignore_errors=True)
    (finished / "reports" / "answers.sqlite").unlink()
    here, _ = told("triage", RUN, "--target", ADAPTER, "--store", str(apart))
    assert here == there
    assert "lost" in here


@pytest.mark.parametrize(
    "command",
    [
        ("report", RUN),
        ("triage", RUN, "--target", ADAPTER),
        ("compare", RUN, RUN, "--target", ADAPTER, "--target", BASE),
        ("baseline", "record", BASE, "--run", RUN),
        ("rescore", RUN, "--target", ADAPTER),
        ("show", RUN, "QUESTION"),
    ],
    ids=lambda command: command[0],
)
@pytest.mark.usefixtures("served")
def test_commands_read_a_store_that_is_a_folder(
    finished: Path, told: Told, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says of a folder what it says of the file that was put into it."""
    monkeypatch.setattr(tempfile, "tempdir", str(finished))
    answered = answers()[0].question
    words = [answered if word == "QUESTION" else word for word in command]
    here = told(*words, code=None)
    told("store", "merge", "reports/answers.sqlite", "--into", "shared/")
    # What `baseline record` has written.
    shutil.rmtree(finished / "thresholds", ignore_errors=True)
    for file in (finished / "reports").glob("answers.sqlite*"):
        file.unlink()
    there = told(*words, "--store", "shared/", code=None)
    assert there == here
    assert "no store of answers" not in "".join(there)


def test_a_store_of_a_later_version_is_wrong_usage(finished: Path, told: Told) -> None:
    """It is named with the remedy, without a traceback, and nothing is made."""
    with closing(sqlite3.connect(finished / "reports" / "answers.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")
    _, err = told("store", "merge", "reports/answers.sqlite", "--into", "new.sqlite", code=4)
    assert "has schema 99" in err
    assert "Traceback" not in err
    assert not (finished / "new.sqlite").exists()
