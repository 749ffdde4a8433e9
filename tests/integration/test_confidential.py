"""What a run shows and leaves is its owner's alone, and nothing of it acts or is secret."""

from __future__ import annotations

import sqlite3

import pytest
from inspect_ai.log import read_eval_log
from tests.doubles.server import Server
from tests.integration.conftest import Project, right
from tests.unit.commands.test_hostile_words import HOSTILE, KEY, TOKEN, assert_harmless


@pytest.mark.parametrize("runner", ["direct", "inspect"])
def test_a_hostile_server_whose_key_is_a_word_of_the_answers(project: Project, runner: str) -> None:
    """Every answer is read as it was given; neither key nor token is shown or kept anywhere."""
    words = HOSTILE.replace(KEY, "ANSWER")

    def answer(asked: dict) -> str:
        return f"{words}\n{right(asked)}" if "ANSWER:" in right(asked) else words

    with Server(key="ANSWER", answer=answer) as server:
        project.serve(server, api_key_env="WORD")
        project.write(".env", "WORD=ANSWER\n")
        outcome = project.full("-n", "2", "--runner", runner)
    assert outcome.code == 0, outcome.text
    assert project.result()["overall_score"] == 1.0
    assert_harmless(outcome.text)
    assert "ANSWER" not in outcome.text

    reports = project.root / "reports"
    for path in [reports, *reports.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
        if path.is_file():
            kept = path.read_bytes()
            assert TOKEN.encode() not in kept, path
    with sqlite3.connect(reports / "answers.sqlite") as db:
        texts = [text for (text,) in db.execute("SELECT text FROM answers WHERE state = 'correct'")]
    assert len(texts) == 8
    assert not [text for text in texts if "ANSWER" in text or TOKEN in text]
    logs = sorted(reports.glob("*/logs/*.json"))
    assert logs
    for log in logs:
        for sample in read_eval_log(str(log)).samples or []:
            whole = sample.model_dump_json()
            assert "ANSWER" not in whole
            assert TOKEN not in whole
