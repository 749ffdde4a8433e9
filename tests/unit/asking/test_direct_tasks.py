"""Which tasks are asked question by question, and which need Inspect's own evaluation."""

from __future__ import annotations

from typing import Any

import pytest
from inspect_ai import Epochs, Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, ContentImage, GenerateConfig
from inspect_ai.scorer import choice, match, model_graded_fact
from inspect_ai.solver import basic_agent, generate, multiple_choice, system_message, use_tools
from tests.doubles.runs import questions

from capgate.asking.inspect_backend.direct_tasks import why_not_direct
from capgate.benchmarks.mmlu.task import TASKS, mmlu_task


def task(sample: dict[str, Any] | None = None, **changes: Any) -> Task:  # noqa: ANN401
    """A task of one turn, with changes."""
    about: dict[str, Any] = {"input": "?", "choices": ["a", "b"], "target": "A", "id": "1"}
    asked = Sample(**(about | (sample or {})))
    plain: dict[str, Any] = {"solver": multiple_choice(), "scorer": choice()}
    return Task(dataset=MemoryDataset([asked]), **(plain | changes))


def picture() -> ChatMessageUser:
    """A message that shows one."""
    return ChatMessageUser(content=[ContentImage(image="data:image/png;base64,iVBORw0KGgo=")])


@pytest.mark.parametrize("name", TASKS)
def test_mmlu_is_asked_question_by_question(name: str) -> None:
    """Both of upstream's tasks."""
    assert why_not_direct(mmlu_task(name, 16).task(questions()[:3], shard="anatomy")) == ""


def test_free_text_is_asked_question_by_question() -> None:
    """A chain of prompts with a scorer that reads the text."""
    assert (
        why_not_direct(task(solver=[system_message("Be short."), generate()], scorer=match())) == ""
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"solver": [use_tools(), generate()]}, "use_tools"),
        ({"solver": basic_agent()}, "solver"),
        ({"scorer": model_graded_fact()}, "model_graded_fact"),
        ({"sandbox": "local"}, "sandbox"),
        ({"setup": system_message("x")}, "setup"),
        ({"message_limit": 3}, "message_limit"),
        ({"epochs": Epochs(2)}, "2 epochs"),
        ({"config": GenerateConfig(num_choices=2)}, "num_choices"),
        ({"sample": {"files": {"a.txt": "x"}}}, "sample 1"),
        ({"sample": {"input": [picture()]}}, "sample 1 shows"),
    ],
)
def test_what_needs_more_is_told(changes: dict[str, Any], why: str) -> None:
    """Tools, agents, graders, sandboxes, limits, epochs and settings that would be lost."""
    assert why in why_not_direct(task(**changes))
