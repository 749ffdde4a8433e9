"""A user's own Inspect tasks in a run: asked, judged and told of like every benchmark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Project, no_traceback
from tests.integration.several import ADAPTER, BASE, is_adapter, over_all, prepare

TICKETS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, accuracy, match, scorer
from inspect_ai.solver import generate, system_message


@task
def tickets():
    samples = [
        Sample(
            input=f"Ticket: what is {at} + 7?",
            target=str(at + 7),
            metadata={"topic": "refunds" if at % 2 else "parcels and more"},
        )
        for at in range(80)
    ]
    solver = [system_message("Think, then answer with a number."), generate()]
    return Task(dataset=samples, solver=solver, scorer=match(numeric=True))


@scorer(metrics={"*": [accuracy()]})
def polite():
    async def score(state, target):
        text = state.output.completion
        return Score(value={"kind": "please" in text, "length": len(text)}, answer=text)

    return score


@task
def letters():
    samples = [Sample(input=f"Write letter {at}.") for at in range(40)]
    return Task(dataset=[*samples, samples[0]], scorer=polite())
"""

ENTRIES = """
desk:
  task: evals/support.py@tickets
  group: topic
  groups: [parcels and more, refunds]
  catch: 0.1
letters: {task: evals/support.py@letters, correct: kind, catch: 0.2}
"""


def helpful(asked: dict[str, Any]) -> str:
    """Solves tickets and writes kind letters."""
    content = asked["messages"][-1]["content"]
    if found := re.fullmatch(r"Ticket: what is (\d+) \+ 7\?", content):
        return f"I add 7 to {found[1]}. The answer is {int(found[1]) + 7}."
    if content.startswith("Write letter"):
        return f"{content} Would you please wait?"
    return f"I am {asked['model']}."


def rude(asked: dict[str, Any]) -> str:
    """As the adapter, still solves tickets, and asks for nothing any more."""
    said = helpful(asked)
    return said.replace("please ", "") if is_adapter(asked) else said


def wordless(asked: dict[str, Any]) -> str:
    """As the adapter, has no numbers left for tickets about refunds."""
    said = helpful(asked)
    number = re.search(r"what is (\d+)", asked["messages"][-1]["content"])
    lost = is_adapter(asked) and number is not None and int(number[1]) % 2
    return "I can not tell." if lost else said


@pytest.fixture
def ready(project: Project) -> Iterator[tuple[Project, Server]]:
    """The project with two tasks, and a server whose adapter has kept everything."""
    with Server(models=(BASE, ADAPTER), answer=helpful) as server:
        prepare(project, server, ENTRIES)
        project.write("evals/support.py", TICKETS)
        yield project, server


BOTH = ("--benchmark", "desk", "--benchmark", "letters")


@pytest.mark.parametrize("runner", ["direct", "inspect"])
def test_two_tasks_that_were_kept_pass(ready: tuple[Project, Server], runner: str) -> None:
    """Free text and a score of several values are judged; groups of the entry have own tests."""
    project, server = ready
    outcome = project.pytest("benchmarks", "-m", "full", *BOTH, "-v", "--runner", runner)
    assert outcome.code == 0, outcome.text
    assert re.findall(r"::(\S+) PASSED", outcome.text) == [
        f"test_preflight[{ADAPTER}]",
        f"test_group[{ADAPTER}-desk-parcels_and_more]",
        f"test_group[{ADAPTER}-desk-refunds]",
        f"test_group[{ADAPTER}-desk]",
        f"test_group[{ADAPTER}-letters]",
        f"test_suite[{ADAPTER}]",
    ]
    assert over_all(project)["kind"] == "PASS"
    section = project.reports()[-1]["benchmarks"]["letters"]["targets"][ADAPTER]
    assert "letters: 1 repeated question is asked once" in section["notes"]
    tickets = [
        chat.body for chat in server.chats if "Ticket" in chat.body["messages"][-1]["content"]
    ]
    assert {one["messages"][0]["content"] for one in tickets} == {
        "Think, then answer with a number."
    }
    assert {one["max_tokens"] for one in tickets} == {512}


def test_what_was_lost_is_named(ready: tuple[Project, Server]) -> None:
    """A loss on one task fails the whole, and the other task's test passes."""
    project, server = ready
    server.answer = rude
    outcome = project.pytest("benchmarks", "-m", "full", *BOTH, "-v")
    assert outcome.code == 1, outcome.text
    assert no_traceback(outcome.text)
    verdict = over_all(project)
    found = {one["name"]: one["kind"] for one in verdict["benchmarks"]}
    assert found == {"desk": "PASS", "letters": "REGRESSION"}
    assert "letters" in verdict["reasons"][0]


def test_a_quick_run_stops_at_the_loss(ready: tuple[Project, Server]) -> None:
    """A quick run over both tells of the loss before all letters are asked."""
    project, server = ready
    server.answer = rude
    outcome = project.pytest("benchmarks", "-m", "quick", *BOTH, "-v")
    assert outcome.code == 1, outcome.text
    assert over_all(project)["kind"] == "REGRESSION"
    letters = [chat for chat in server.chats if "letter" in chat.body["messages"][-1]["content"]]
    assert len(letters) < 80


def test_answers_without_a_number_are_unparsed(ready: tuple[Project, Server]) -> None:
    """Half of the answers hold no number: they are unreadable, and nothing is concluded."""
    project, server = ready
    server.answer = wordless
    outcome = project.pytest("benchmarks", "-m", "full", "--benchmark", "desk", "-v")
    assert outcome.code == 10, outcome.text
    assert over_all(project)["kind"] == "INCONCLUSIVE"
    assert "40 of 80 answers of the candidate are unreadable" in outcome.text


def test_a_mistake_in_the_file_is_told_before_anything_is_asked(
    ready: tuple[Project, Server],
) -> None:
    """File and line are named in one paragraph; no question is asked."""
    project, server = ready
    project.write("evals/support.py", TICKETS.replace("target=str", "traget=str"))
    outcome = project.pytest("benchmarks", "-m", "full", "--benchmark", "desk", "-v")
    assert outcome.code not in (0, 1), outcome.text
    assert no_traceback(outcome.text)
    assert "evals/support.py, line 11" in " ".join(outcome.text.split())
    assert not [chat for chat in server.chats if "Ticket" in chat.body["messages"][-1]["content"]]
