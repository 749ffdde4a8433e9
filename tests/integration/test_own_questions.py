"""A team's own questions in every form, asked of a base and its adapter and judged."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Project, no_traceback

BASE, ADAPTER = "taught", "forgetful"
NAMES = ("sums", "words", "talks")

ENTRIES = """
sums: {questions: data/sums.csv, catch: 0.2}
words: {questions: data/words.json, scorer: includes, catch: 0.2}
talks: {questions: data/talks.jsonl, catch: 0.2}
"""


def knows_all(asked: dict[str, Any]) -> str:
    """Answers everything right, in prose where that is free."""
    text = asked["messages"][-1]["content"]
    if found := re.search(r"Add (\d+) and (\d+)\.", text):
        return f"They make **{int(found[1]) + int(found[2])}**."
    if found := re.search(r"What comes after n(\d+)\?", text):
        return f"After it comes N{int(found[1]) + 1}, I think."
    if "How many keys has it?" in text:
        return "ANSWER: B"
    if "Which of these numbers is even?" in text:
        return "ANSWER: C"
    easy = {"What is 3 + 5?": "8", "Repeat this word": "apple"}
    known = (answer for begin, answer in easy.items() if text.startswith(begin))
    return next(known, f"I am {asked['model']}.")


def forgets_sums(asked: dict[str, Any], answer: str) -> str:
    """The adapter answers each sum alike, and keeps the rest."""
    lost = asked["model"] == ADAPTER and "Add " in asked["messages"][-1]["content"]
    return answer if lost else knows_all(asked)


def write_questions(folder: Path) -> None:
    """Sums as a CSV with a repeated row, words as a JSON list, talks as Inspect's JSON lines."""
    folder.mkdir()
    with (folder / "sums.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["question", "answer", "group"])
        rows = [[f"Add {n} and {n + 9}.", 2 * n + 9, "even" if n % 2 else "odd"] for n in range(40)]
        table.writerows([*rows, rows[3]])
    words = [
        {"question": f"What comes after n{n}?", "answer": [f"n{n + 1}", f"number {n + 1}"]}
        for n in range(40)
    ]
    (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")
    with (folder / "talks.jsonl").open("w", encoding="utf-8") as file:
        for n in range(40):
            talk = [
                {"role": "system", "content": "You know this house."},
                {"role": "user", "content": f"I mean room {n}."},
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "How many keys has it?"},
            ]
            row = {"input": talk, "target": "B", "choices": ["none", "one", "two"]}
            file.write(json.dumps(row) + "\n")


@pytest.fixture
def ready(project: Project) -> Iterator[tuple[Project, Server]]:
    """The project with its questions, and a server of the base and the adapter."""
    with Server(models=(BASE, ADAPTER), answer=knows_all) as server:
        project.write(
            "config/models.yaml",
            f"{BASE}:\n  model_name: openai/{BASE}\n  base_url: {server.url}\n"
            f"  context_window: 2048\n  max_connections: 32\n"
            f"{ADAPTER}:\n  adapter_of: {BASE}\n  default: true\n",
        )
        project.write("config/benchmarks.yaml", ENTRIES)
        write_questions(project.root / "data")
        yield project, server


CHOSEN = tuple(part for name in NAMES for part in ("--benchmark", name))


def verdicts(project: Project) -> dict[str, str]:
    """Benchmark to its verdict in the latest run; `""` to that over all."""
    suite = project.reports()[-1]["suites"][ADAPTER]
    return {"": suite["kind"], **{one["name"]: one["kind"] for one in suite["benchmarks"]}}


def test_numbers_words_and_talks_are_judged(ready: tuple[Project, Server]) -> None:
    """Each form is asked as it is written and read by its scorer; a repeated row is told."""
    project, server = ready
    outcome = project.pytest("benchmarks", "-m", "full", *CHOSEN)

    assert outcome.code == 0, outcome.text
    assert verdicts(project) == dict.fromkeys(("", *NAMES), "PASS")
    assert "repeated questions are asked once: left out line 42 (as 5)" in outcome.text
    shown = [chat.body["messages"] for chat in server.chats if chat.body["model"] == BASE]
    assert [{"role": "user", "content": "Add 7 and 16."}] in shown
    assert [{"role": "user", "content": "What comes after n12?"}] in shown
    talks = [messages for messages in shown if len(messages) == 4]
    assert len({messages[1]["content"] for messages in talks}) == 40
    assert {messages[0]["content"] for messages in talks} == {"You know this house."}
    assert all("ANSWER: $LETTER" in messages[-1]["content"] for messages in talks)


@pytest.mark.parametrize(
    ("mode", "answer", "code", "kind"),
    [
        ("full", "They make 1.", 1, "REGRESSION"),
        ("quick", "They make 1.", 1, "REGRESSION"),
        ("full", "They make quite a lot.", 10, "INCONCLUSIVE"),
    ],
)
def test_a_loss_in_numbers_is_told_from_answers_without_one(
    mode: str, answer: str, code: int, kind: str, ready: tuple[Project, Server]
) -> None:
    """Wrong numbers are a loss; prose without a number can't be read, and says nothing of it."""
    project, server = ready
    server.answer = lambda asked: forgets_sums(asked, answer)
    outcome = project.pytest("benchmarks", "-m", mode, *CHOSEN)

    assert no_traceback(outcome.text)
    assert outcome.code == code, outcome.text
    found = verdicts(project)
    assert (found[""], found["sums"]) == (kind, kind)
    assert (found["words"], found["talks"]) == ("PASS", "PASS")
