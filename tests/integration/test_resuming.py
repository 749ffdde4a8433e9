"""What is asked, and what is found in the store: no answer is lost, none is asked for twice."""

from __future__ import annotations

import contextlib
import signal
import sqlite3

import psutil
import pytest
from tests.doubles.server import Server, hashed_answer
from tests.integration.conftest import (
    PROBE,
    Hold,
    Project,
    no_traceback,
    question_of,
    questions,
    target,
    until,
)

from capgate.cli import main
from capgate.store.answer_store import Store


def asked_since(server: Server) -> int:
    """How many questions of the benchmark were asked since the last call."""
    chats = server.chats
    server.asked.clear()
    return sum(questions(chats).values())


def test_killed_run_goes_on(
    project: Project,
    server: Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After SIGKILL in the middle the next run asks what was not answered, and nothing else."""
    project.serve(server, max_connections=1)
    hold = Hold(server, after=5)
    server.script(forever=hold)
    process = project.start_full()
    assert hold.reached.wait(120)
    (waiting,) = (q for q, n in questions(server.chats[-1:]).items() if n)
    # The sixth question is put before the fifth one's answer is dealt with.
    until(lambda: project.stored() == {"correct": 5}, "five answers stored")
    process.kill()
    assert process.finish().code == -signal.SIGKILL
    assert project.stored() == {"correct": 5}
    monkeypatch.chdir(project.root)
    assert main(["report", "latest"]) == 4
    said = capsys.readouterr().err
    assert "was killed before its report" in said
    assert "esume with `pytest benchmarks -m full --model-id double --subjects " in said
    hold.release()
    outcome = project.full()
    assert outcome.code == 0, outcome.text
    counts = questions(server.chats)
    assert counts.pop(waiting) == 2
    assert set(counts.values()) == {1}
    assert len(counts) == 7
    assert project.stored() == {"correct": 8}
    assert project.result()["overall"]["asked"] == 3


@pytest.mark.slow
def test_killed_controller_takes_its_workers_along(project: Project, server: Server) -> None:
    """With -n 2 too: no worker outlives the killed controller, and no claim is left behind."""
    project.serve(server, max_connections=2)
    project.warm = False
    hold = Hold(server, after=4)
    server.script(forever=hold)
    process = project.start_full("-n", "2")
    assert hold.reached.wait(120)
    until(lambda: sum(project.stored().values()) == 4, "four answers stored")
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.kill()
    hold.release()
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left
    process.finish()
    before = questions(server.chats)
    stored = sum(project.stored().values())
    assert stored >= 4
    asked_since(server)
    outcome = project.full("-n", "2")
    assert outcome.code == 0, outcome.text
    assert asked_since(server) == 8 - stored
    assert project.stored() == {"correct": 8}
    # The worker that ends last may ask once more what the other one had in flight.
    assert before.total() - len(before) <= 2


def test_second_run_asks_nothing(project: Project, server: Server) -> None:
    """A run like the last one asks nothing; --fresh asks all again."""
    project.serve(server)
    assert project.full().code == 0
    assert asked_since(server) == 8
    again = project.full()
    assert again.code == 0
    assert asked_since(server) == 0
    assert "(0 asked now)" in again.text
    assert project.result()["overall"]["asked"] == 0
    assert project.full("--fresh").code == 0
    assert asked_since(server) == 8


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_store_that_fails_ends_the_asking(project: Project, server: Server, workers: str) -> None:
    """What can't be kept is not asked for: neither the rest of a shard nor a later one."""
    project.serve(server, max_connections=1)
    with Store(project.root / "reports" / "answers.sqlite"):
        pass
    with contextlib.closing(sqlite3.connect(project.root / "reports" / "answers.sqlite")) as db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON answers "
            "BEGIN SELECT RAISE(ABORT, 'no room is left'); END"
        )
    outcome = project.full("-n", workers)
    assert outcome.code == 11, outcome.text
    assert "can't be written" in outcome.text
    assert "no room is left" in outcome.text
    assert no_traceback(outcome.text)
    # Each process may have two more in progress while the store refuses the first.
    assert asked_since(server) <= 3 * max(1, int(workers))


def test_last_failed_asks_nothing(project: Project) -> None:
    """--lf after a red run shows the same verdict without asking a question."""
    with Server(answer=hashed_answer) as server:
        project.serve(server)
        project.floors(double=0.95)
        assert project.full().code == 1
        server.asked.clear()
        again = project.pytest("benchmarks", "--lf", "--subjects", "abstract_algebra,virology")
        assert again.code == 1
        assert again.verdict() == "REGRESSION"
        assert server.chats == []


@pytest.mark.slow
def test_other_settings_ask_anew(project: Project, server: Server) -> None:
    """Answers are never mixed over answer formats, token limits, temperatures or tasks."""
    project.targets(free=target(server.url), forced=target(server.url, answer_format="constrained"))
    project.floors(free=0.5, forced=0.5)
    one = ("benchmarks", "-k", "abstract_algebra")
    assert project.pytest(*one, "--model-id", "free", "--model-id", "forced").code == 0
    assert asked_since(server) == 8
    for options in (
        ("--max-tokens", "64"),
        ("--temperature", "0.5"),
        ("--tasks", "inspect_evals/mmlu_5_shot"),
    ):
        assert project.pytest(*one, *options).code == 0
        assert asked_since(server) == 4, options
    assert project.pytest(*one).code == 0
    assert asked_since(server) == 0


@pytest.mark.slow
def test_workers_change_nothing(project: Project) -> None:
    """-n 2 and -n 0 give the same scores, counts and verdicts."""
    with Server(answer=hashed_answer) as server:
        project.serve(server)
        found = []
        for workers in ("0", "2"):
            store = f"answers-{workers}.sqlite"
            options = ("--domains", "social_sciences", "-n", workers, "--store", store)
            outcome = project.pytest("benchmarks", "-m", "full", *options)
            assert no_traceback(outcome.text)
            result = project.result()
            verdicts = {s: one["verdict"] for s, one in result["subject_details"].items()}
            found.append((outcome.code, result["subjects"], result["verdict"], verdicts))
            assert asked_since(server) == 48
    assert found[0] == found[1]


def test_two_runs_share_their_work(project: Project, server: Server) -> None:
    """Of two runs at once each question is asked by one, and both have every answer."""
    project.serve(server, max_connections=1)
    hold = Hold(server, after=2)
    server.script(forever=hold)
    first = project.start_full()
    assert hold.reached.wait(120)
    second = project.start_full("-p", "no:cacheprovider")

    def probes() -> int:
        return sum(question_of(chat.body) == PROBE for chat in server.chats)

    until(lambda: probes() == 2, "the second run's preflight")
    hold.release()
    outcomes = [first.finish(), second.finish()]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert set(questions(server.chats).values()) == {1}
    for report in project.reports():
        assert report["targets"]["double"]["overall"]["correct"] == 8


@pytest.mark.parametrize("workers", ["0", "2"])
def test_interrupted_run_is_partial(project: Project, server: Server, workers: str) -> None:
    """Ctrl-C ends the run with code 2; what was answered is reported as partial, no more."""
    project.serve(server, max_connections=2)
    hold = Hold(server, after=4)
    server.script(forever=hold)
    process = project.start_full("-n", workers)
    assert hold.reached.wait(120)
    until(lambda: sum(project.stored().values()) == 4, "four answers stored")
    process.signal_group(signal.SIGINT)
    outcome = process.finish(30)
    assert outcome.code == 2, outcome.text
    assert "PARTIAL" in outcome.text
    assert project.stored() == {"correct": 4}
    result = project.result()
    assert result["complete"] is False
    assert result["overall"]["correct"] == 4
    assert result["overall"]["errors"] == 0
    assert result["verdict"] is None
    (report,) = project.reports()
    assert report["complete"] is False
