"""Baselines, stores and annotations that were changed by hand end in words, never a traceback."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from tests.doubles.runs import answers, keep_run

from capgate.benchmarks.mmlu.known_errors import load_redux
from capgate.cli import main
from capgate.common.errors import ConfigError

HUGE = 10**400


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two runs of `mine`; the working directory."""
    monkeypatch.chdir(tmp_path)
    keep_run(tmp_path, "r1", answers())
    keep_run(tmp_path, "r2", answers(lost=range(4)))
    return tmp_path


@pytest.mark.parametrize(
    ("place", "to", "said"),
    [
        (("identity", "generation"), 5, "generation.max_tokens: is missing"),
        (("identity", "generation", "max_tokens"), {}, "of another kind than int"),
        (("identity", "versions"), 5, "of another kind than dict"),
        (("dataset", "source"), [[]], "of another kind than str"),
        (("subjects",), {}, "subjects: there is none"),
        (("subjects", "anatomy", "correct"), 5, "subjects.anatomy: these are no counts"),
        (("subjects", "anatomy", "n"), HUGE, "subjects.anatomy: these are no counts"),
    ],
)
@pytest.mark.parametrize("words", [("diff", "mine", "--run", "r2"), ("diff", "mine")])
def test_a_damaged_baseline_names_its_fault(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    place: tuple[str, ...],
    to: object,
    said: str,
    words: tuple[str, ...],
) -> None:
    """The file, the place and what is wrong there."""
    assert main(["baseline", "record", "mine", "--run", "r1"]) == 0
    file = project / "thresholds" / "baselines" / "mine.json"
    raw = inner = json.loads(file.read_text())
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = to
    file.write_text(json.dumps(raw))
    assert main(["baseline", *words]) == 4
    told = capsys.readouterr().err
    assert f"the baseline {file}" in told
    assert said in told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE shards SET facts = '5' WHERE kind = 'entry'", "should be keys and values"),
        (
            "UPDATE shards SET facts = '{}' WHERE kind = 'entry'",
            "damaged: facts, dataset",
        ),
        ("UPDATE shards SET facts = json_set(facts, '$.facts', 5) WHERE kind = 'entry'", "facts"),
        (
            "UPDATE shards SET facts = json_set(facts, '$.verdict', 5) WHERE kind = 'suite'",
            "suite",
        ),
        (
            "UPDATE shards SET facts = json_set(facts, '$.dataset.source', 5) WHERE kind = 'entry'",
            "set",
        ),
        ("UPDATE runs SET settings = json_set(settings, '$.max_tokens', '5')", "settings"),
        ("UPDATE runs SET settings = '[]'", "should be keys and values"),
        ("UPDATE runs SET settings = '{}'", "damaged: settings"),
        ("UPDATE shards SET facts = replace(hex(zeroblob(50000)), '0', '[')", "can't be read"),
        ("UPDATE questions SET choices = '5'", "can't be read"),
    ],
)
def test_a_damaged_store_is_told_of(
    project: Path, capsys: pytest.CaptureFixture[str], change: str, said: str
) -> None:
    """Whatever stands where the store keeps JSON."""
    with sqlite3.connect(project / "reports" / "answers.sqlite") as db:
        db.execute(change)
    assert main(["compare", "r1", "r2"]) == 11
    told = capsys.readouterr().err
    assert "the store of answers" in told
    assert said in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "text",
    [
        "{" + '"a":{' * 100_000,
        '{"error_type": [[]], "question": 5}',
        '{"error_type": "wrong_groundtruth", "correct_answer": "²"}',
        "error_type,question\nok," + "x" * 200_000,
    ],
)
def test_annotations_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    """MMLU-Redux's file, as jsonl and CSV."""
    file = tmp_path / "redux.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"redux\.csv"):
        load_redux(file)
