"""A project with MMLU and two further benchmarks, which are files of sums."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.doubles.server import Server
from tests.integration.conftest import Project, right

BASE, ADAPTER = "taught", "forgetful"
BOTH = ("--benchmark", "mmlu", "--benchmark", "sums")
SUMS = {f"What is {a} + {b}?": a + b for a in range(2, 12) for b in range(3, 13)}
"""The questions of a second benchmark, and their answers."""

ENTRIES = """
sums: {questions: data/sums.jsonl, catch: 0.05}
kinds: {questions: data/kinds.jsonl, catch: 0.2}
suites:
  both: [mmlu, sums]
  fast: {benchmarks: [mmlu, sums], quick: true}
"""


def sum_of(asked: dict[str, Any]) -> str:
    """The sum that a request asks for; `""` where it asks something else."""
    found = re.search(r"What is \d+ \+ \d+\?", asked["messages"][-1]["content"])
    return found[0] if found and found[0] in SUMS else ""


def is_adapter(asked: dict[str, Any]) -> bool:
    """Whether the adapter is asked."""
    return bool(asked["model"] == ADAPTER)


def kept(asked: dict[str, Any]) -> str:
    """Answers everything right; the adapter is live, since it says its own name."""
    content = asked["messages"][-1]["content"]
    if "Repeat this word" in content:
        return "apple"
    if "ANSWER:" not in content and not sum_of(asked):
        return f"I am {asked['model']}."
    return f"ANSWER: {'ABCD'[SUMS[text] % 4]}" if (text := sum_of(asked)) else right(asked)


def cannot_add(asked: dict[str, Any]) -> str:
    """As the adapter, answers every sum with one letter and keeps the rest."""
    return "ANSWER: A" if is_adapter(asked) and sum_of(asked) else kept(asked)


def row(question: str, key: int, **more: object) -> str:
    """A line of a file of questions with four choices."""
    choices = [str(4 * (key // 4) + place) for place in range(4)]
    made = {"question": question, "choices": choices, "answer": "ABCD"[key % 4], **more}
    return json.dumps(made) + "\n"


def prepare(project: Project, server: Server, entries: str = ENTRIES) -> None:
    """A base, its adapter on the same server, and two benchmarks that are files."""
    project.write(
        "config/models.yaml",
        f"{BASE}:\n  model_name: openai/{BASE}\n  base_url: {server.url}\n  dataset: bundled\n"
        f"  context_window: 2048\n  max_connections: 32\n{ADAPTER}:\n  adapter_of: {BASE}\n"
        f"  default: true\n",
    )
    write_benchmarks(project.write, entries)


def write_benchmarks(write: Callable[[str, str], object], entries: str = ENTRIES) -> None:
    """Two benchmarks that are files, written by a project's `write`."""
    write("config/benchmarks.yaml", entries)
    write("data/sums.jsonl", "".join(row(text, key) for text, key in SUMS.items()))
    few = list(SUMS.items())[:24]
    write(
        "data/kinds.jsonl",
        "".join(
            row(text, key, group="small" if place % 2 else "large")
            for place, (text, key) in enumerate(few)
        ),
    )


def over_all(project: Project) -> dict[str, Any]:
    """The verdict over all benchmarks of the latest run."""
    suites: dict[str, Any] = project.reports()[-1]["suites"]
    verdict: dict[str, Any] = suites[ADAPTER]
    return verdict
