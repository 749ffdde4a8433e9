"""Adapters of a training that real runs of `capgate` judge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import RUN_SECONDS, Project, target
from tests.integration.test_adapters import FEW, forgot, like_a_model

from capgate.integrations.saved_adapters import Command, Judgement, SavedAdapters


def judged(project: Project, url: str, *options: str) -> Judgement:
    """The judgement on one saved adapter."""
    project.write("thresholds/policy.yaml", FEW)
    project.targets(base=target(url))
    program = (sys.executable, "-m", "capgate.cli")
    command = Command(program, project.root, "base", options=options)
    copies = project.root / "out" / "_capgate"
    adapters = SavedAdapters(command, copies, waiting="newest", timeout=RUN_SECONDS)
    checkpoint = make_adapter(project.root / "out" / "checkpoint-8")
    (found,) = adapters.add(8, checkpoint) + adapters.finish(RUN_SECONDS)
    assert not copies.exists()
    return found


def as_base(_path: str, asked: dict[str, Any]) -> str:
    """Answers as the base does."""
    return like_a_model(asked)


@pytest.mark.parametrize(
    ("tuned", "kind", "drop"), [(forgot, "REGRESSION", 1), (as_base, "PASS", 0)]
)
def test_a_verdict_has_its_numbers(
    project: Project, tuned: Callable[[str, dict[str, Any]], str], kind: str, drop: float
) -> None:
    """Those of the run's report, as numbers."""
    with Vllm(answer=like_a_model, tuned=tuned) as server:
        found = judged(project, server.url)
        assert not server.adapters
    assert (found.kind, found.drop) == (kind, drop)
    verdict = project.reports()[-1]["verdict"]
    values = found.values()
    assert values["capgate/questions"] == verdict["counts"]["n"] > 0
    assert values["capgate/drop_low"] == verdict["interval"]["low"]
    assert values["capgate/drop_high"] == verdict["interval"]["high"]
    assert found.report is not None
    assert found.report.is_file()


def test_several_benchmarks_have_one_verdict(project: Project) -> None:
    """And each has its own drop."""
    questions = [
        f'{{"id": "{n}", "question": "House rule {n}?", "choices": ["a", "b"], "answer": "a"}}\n'
        for n in range(60)
    ]
    project.write("data/rules.jsonl", "".join(questions))
    project.write(
        "config/benchmarks.yaml",
        "rules: {questions: data/rules.jsonl, catch: 0.2}\n",
    )
    with Vllm(answer=lambda _: "ANSWER: A", tuned=lambda *_: "ANSWER: B") as server:
        found = judged(project, server.url, "--benchmark", "mmlu", "--benchmark", "rules")
    assert found.kind == "REGRESSION", found.reason
    assert set(found.drops) == {"mmlu", "rules"}
    assert found.values()["capgate/drop/rules"] == found.drops["rules"] > 0
    assert found.questions


def test_a_dead_server_is_an_error(project: Project) -> None:
    """Its reason is the run's."""
    found = judged(project, "http://127.0.0.1:9/v1")
    assert found.kind == "ERROR"
    assert "nothing accepts connections there" in found.reason
