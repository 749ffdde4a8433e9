"""Which tasks are asked question by question, and which need Inspect's own evaluation."""

from __future__ import annotations

from typing import Any

import pytest
from inspect_ai import Epochs, Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, ContentImage, GenerateConfig
from inspect_ai.scorer import (
    Score,
    Scorer,
    Target,
    accuracy,
    choice,
    match,
    model_graded_fact,
    scorer,
    stderr,
)
from inspect_ai.solver import (
    Generate,
    Solver,
    TaskState,
    basic_agent,
    generate,
    multiple_choice,
    prompt_template,
    solver,
    system_message,
    use_tools,
)
from inspect_evals.bbh.bbh import bbh_scorer, bbh_solver
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
    "changes",
    [
        {
            "solver": [system_message("Examples"), prompt_template("{prompt}"), generate()],
            "scorer": match(numeric=True),
        },
        {"solver": bbh_solver(), "scorer": bbh_scorer()},
        {"metrics": [accuracy(), stderr(cluster="language")]},
        {"scorer": [match(), choice()], "config": GenerateConfig(max_tokens=64)},
    ],
    ids=["gsm8k", "bbh", "mgsm", "two scorers"],
)
def test_what_upstreams_benchmarks_use_is_asked_question_by_question(
    changes: dict[str, Any],
) -> None:
    """Chains of prompts, upstream's own solvers and scorers, several scorers, other metrics."""
    assert why_not_direct(task(**changes)) == ""


def own_match() -> Scorer:
    """A user's scorer that has the name of one of Inspect's."""

    @scorer(metrics=[accuracy()], name="match")
    def made() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            return Score(value="C" if state.output.completion == target.text else "I")

        return score

    return made()


def own_generate() -> Solver:
    """A user's solver that has the name of one of Inspect's."""

    @solver(name="generate")
    def made() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            return await generate(await generate(state))

        return solve

    return made()


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"scorer": own_match()}, "match"), ({"solver": own_generate()}, "generate")],
)
def test_a_known_name_alone_is_not_enough(changes: dict[str, Any], why: str) -> None:
    """A user's own solver or scorer may do anything, though it is named as one of Inspect's."""
    assert why in why_not_direct(task(**changes))


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
