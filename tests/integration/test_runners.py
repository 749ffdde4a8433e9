"""Whole runs by either runner: the same answers, kept as they come."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log
from tests.doubles.server import Server, hashed_answer
from tests.integration.conftest import Hold, Project, no_traceback, questions, until

RUNNERS = ("direct", "inspect")


def answers(project: Project) -> set[tuple[object, ...]]:
    """What is stored of each answer but when and how long it took."""
    with closing(sqlite3.connect(project.root / "reports" / "answers.sqlite")) as db:
        return set(
            db.execute(
                "SELECT question, subject, state, choice, text, prompt_tokens, completion_tokens"
                " FROM answers"
            )
        )


def test_both_runners_come_to_the_same(tmp_path: Path) -> None:
    """Exit code, tests, accuracy and every stored answer are the same."""
    found = []
    with Server(answer=hashed_answer) as server:
        for runner in RUNNERS:
            project = Project.make(tmp_path / runner)
            project.serve(server)
            server.asked.clear()
            outcome = project.full("--runner", runner)
            assert no_traceback(outcome.text)
            score = project.result()["overall_score"]
            found.append((outcome.code, outcome.counts, score, answers(project)))
            assert set(questions(server.chats).values()) == {1}
    assert found[0] == found[1]
    assert len(found[0][3]) >= 8


def test_an_answer_of_one_runner_counts_for_the_other(project: Project, server: Server) -> None:
    """What Inspect's own evaluation has asked is not asked again by the direct way."""
    project.serve(server)
    assert project.full("--runner", "inspect").code == 0
    server.asked.clear()
    assert project.full("--runner", "direct").code == 0
    assert not questions(server.chats)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("form", ["json", "eval"])
def test_logs_have_the_wanted_form(
    project: Project, server: Server, runner: str, form: str
) -> None:
    """A run's logs are of the wanted form, and Inspect reads each."""
    project.serve(server)
    assert project.full("--runner", runner, "--inspect-logs", form).code == 0
    logs = sorted(project.root.glob("reports/*/logs/*"))
    assert {path.suffix for path in logs} == {f".{form}"}
    found = [read_eval_log(str(path)) for path in logs]
    assert {log.status for log in found} == {"success"}
    assert sum(len(log.samples or []) for log in found) == 9


@pytest.mark.parametrize("runner", RUNNERS)
def test_ctrl_c_keeps_what_was_answered(project: Project, server: Server, runner: str) -> None:
    """An interrupted run keeps its answers and ends its log, which says that it was cancelled."""
    project.serve(server, max_connections=1)
    hold = Hold(server, after=3)
    server.script(forever=hold)
    process = project.start_full("--runner", runner)
    assert hold.reached.wait(120)
    until(lambda: project.stored().get("correct", 0) >= 3, "three answers stored")
    process.signal_group(signal.SIGINT)
    outcome = process.finish(60)
    hold.release()
    assert outcome.code == 2, outcome.text
    assert no_traceback(outcome.text)
    assert set(project.stored()) == {"correct"}
    statuses = [
        json.loads(path.read_bytes())["status"]
        for path in project.root.glob("reports/*/logs/*.json")
    ]
    assert "cancelled" in statuses
    server.asked.clear()
    server.script()
    assert project.full("--runner", runner).code == 0
    assert sum(questions(server.chats).values()) == 5
