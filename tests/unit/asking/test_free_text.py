"""Tasks of all kinds through both runners: free text, several values, numbers, conversations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from inspect_ai.log import EvalLog
from tests.doubles.server import Server
from tests.unit.asking.asked import ask, client_of, logs_in, runner_of
from tests.unit.asking.tasks import (
    ALL,
    OwnTask,
    hard_ones,
    instructions,
    overlaps,
    word_problems,
)

from capgate.asking.outcome import Outcome, QuestionTask
from capgate.common.answers import AnswerState
from capgate.config.run_options import RUNNERS, RunnerKind

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SAID = (
    *("ANSWER: 7", "It is 8.\n\nANSWER: 8", "ANSWER: B", "two words", "", "ANSWER: yes"),
    *("The answer is **10**.", "yes", "Five words are in here", "ANSWER: $1,000"),
)
"""What the model says to one question or another."""


def answers(asked: dict[str, object]) -> str:
    """An answer that follows from the last message alone."""
    messages = asked["messages"]
    assert isinstance(messages, list)
    text = messages[-1]["content"]
    return SAID[sum(text.encode()) % len(SAID)]


def ran(
    kind: RunnerKind, made: OwnTask, server: Server, folder: Path
) -> tuple[Mapping[str, Outcome], EvalLog, list[bytes]]:
    """Has a runner ask all questions; returns outcomes by question, the log and the requests."""
    server.answer = answers
    server.asked.clear()
    task = QuestionTask(made.name, made.questions, client_of(server), target="mine", look="first")
    ended = ask(runner_of(kind, folder, made), task)
    (log,) = logs_in(folder)
    found = {outcome.answer.question: outcome for _, outcome in ended}
    return found, log, sorted(one.raw for one in server.chats)


@pytest.mark.parametrize("make", ALL)
def test_both_runners_end_alike(
    make: Callable[[], OwnTask], server: Server, tmp_path: Path
) -> None:
    """Requests, states, what was read, tokens, scores and results are the same."""
    inspect, direct = (ran(kind, make(), server, tmp_path / kind) for kind in reversed(RUNNERS))
    assert direct[2] == inspect[2]
    assert len(direct[2]) == len(make().samples)
    assert direct[0].keys() == inspect[0].keys()
    for question, one in inspect[0].items():
        other = direct[0][question]
        assert dataclasses.replace(other.answer, seconds=0) == dataclasses.replace(
            one.answer, seconds=0
        )
        assert one.fault is None
        assert other.fault is None
    assert direct[1].results is not None
    assert inspect[1].results is not None
    assert direct[1].results.model_dump_json() == inspect[1].results.model_dump_json()
    assert direct[1].eval.scorers == inspect[1].eval.scorers
    assert direct[1].eval.metrics == inspect[1].eval.metrics
    assert direct[1].plan.steps == inspect[1].plan.steps


@pytest.mark.parametrize("make", [word_problems, instructions, overlaps, hard_ones])
def test_the_answers_have_several_states(
    make: Callable[[], OwnTask], server: Server, tmp_path: Path
) -> None:
    """The model is right on some questions and not on others, whatever the scorer's form."""
    found, _, _ = ran("inspect", make(), server, tmp_path)
    states = {outcome.answer.state for outcome in found.values()}
    assert len(states & {AnswerState.CORRECT, AnswerState.WRONG, AnswerState.UNPARSED}) > 1


def test_what_was_read_is_short_and_without_secrets(server: Server, tmp_path: Path) -> None:
    """A scorer that takes the whole text for the answer leaves one short line of it."""
    made = word_problems()
    long = "I think:\n" + "many words " * 200 + "\nANSWER: 7 my-own-key"
    server.answer = lambda _: long
    client = client_of(server, key="my-own-key")
    ended = ask(runner_of("direct", tmp_path, made), QuestionTask("a", made.questions, client))
    for _, outcome in ended:
        assert len(outcome.answer.choice) <= 120
        assert "\n" not in outcome.answer.choice
        assert "my-own-key" not in outcome.answer.choice


@pytest.mark.parametrize(
    ("make", "name"), [(word_problems, ""), (overlaps, "overlap"), (instructions, "follows")]
)
def test_the_task_chooses_its_runner(
    make: Callable[[], OwnTask], name: str, server: Server, tmp_path: Path
) -> None:
    """A scorer of a user's own takes Inspect's evaluation, and one line says so; others do not."""
    from capgate.asking import inspect_calls

    made, told = make(), list[str]()
    runner = inspect_calls.runner_of(
        "auto", made, tmp_path, temperature=0.0, log_format="json", tell=told.append
    )
    server.answer = answers
    for part in ("first", "second"):
        client = client_of(server)
        ask(runner, QuestionTask(part, made.questions[:2], client, target="mine"))
    assert len(logs_in(tmp_path)) == 2
    if not name:
        assert told == []
        return
    (line,) = told
    assert line.startswith(f"{made.name}: Inspect's own evaluation asks it")
    assert f"its scorer {name} may ask a model" in line


def test_logs_say_which_benchmark_they_are_of(server: Server, tmp_path: Path) -> None:
    """Two benchmarks write into one folder; names and metadata tell their logs apart."""
    server.answer = answers
    for made in (word_problems(), instructions()):
        task = QuestionTask("part", made.questions, client_of(server), target="mine")
        ask(runner_of("direct", tmp_path, made), task)
    logs = {log.eval.task: (log.eval.metadata or {}) for log in logs_in(tmp_path)}
    assert {name: about["capgate_benchmark"] for name, about in logs.items()} == {
        "word-problems_part": "word-problems",
        "instructions_part": "instructions",
    }
    assert {path.name.split("_")[1] for path in tmp_path.iterdir()} == {
        "word-problems-part",
        "instructions-part",
    }


def test_a_groups_name_is_no_path(server: Server, tmp_path: Path) -> None:
    """A group that is named as a path leads no log out of its folder."""
    made = word_problems()
    task = QuestionTask("../../x/ü group", made.questions[:1], client_of(server))
    ask(runner_of("direct", tmp_path / "a" / "logs", made), task)
    (path,) = (tmp_path / "a" / "logs").iterdir()
    assert "x-group" in path.name
    assert [one.name for one in tmp_path.rglob("*.json")] == [path.name]
