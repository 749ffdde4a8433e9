"""What the scorer reads in answers, and the hash by which scorers are told apart."""

from __future__ import annotations

import os

import pytest
from inspect_ai.scorer import Score, Scorer, Target, accuracy, choice, scorer
from inspect_ai.solver import Solver, TaskState
from inspect_evals.mmlu.mmlu import mmlu_multiple_choice

from capgate.benchmarks.mmlu.reading import KEY, behaviour_hash, mmlu_scorer_hash
from capgate.benchmarks.mmlu.task import TASKS, mmlu_task
from capgate.benchmarks.mmlu.versions import hashed_versions, scorer_of


def solver() -> Solver:
    """Upstream's, as the task uses it."""
    return mmlu_multiple_choice(max_non_cot_tokens=512)


@scorer(metrics=[accuracy()])
def bare_letters_count() -> Scorer:
    """Upstream's scorer, after an upgrade that accepts a bare letter."""
    upstream = choice()

    async def score(state: TaskState, target: Target) -> Score | None:
        text = state.output.completion
        if text in {"A", "B", "C", "D"}:
            return Score(value="C" if text == target.text else "I", answer=text)
        return await upstream(state, target)

    return score


@scorer(metrics=[accuracy()])
def reads_alike() -> Scorer:
    """Upstream's scorer with other words in its explanation."""
    upstream = choice()

    async def score(state: TaskState, target: Target) -> Score | None:
        said = await upstream(state, target)
        assert said is not None
        return said.model_copy(update={"explanation": "in other words"})

    return score


@scorer(metrics=[accuracy()])
def fails_on_no_text() -> Scorer:
    """Upstream's scorer, after an upgrade that can not read an empty answer."""
    upstream = choice()

    async def score(state: TaskState, target: Target) -> Score | None:
        state.output.completion[0]
        return await upstream(state, target)

    return score


def test_a_scorer_has_one_hash() -> None:
    """Made anew, and from other limits of tokens, it is the same."""
    assert behaviour_hash(solver(), choice()) == behaviour_hash(mmlu_multiple_choice(), choice())
    assert behaviour_hash(solver(), choice()) == mmlu_scorer_hash()
    assert len(mmlu_scorer_hash()) == 16


def test_a_scorer_that_reads_differently_has_another_hash() -> None:
    """One kind of text that is read otherwise, or that can not be read any more, is enough."""
    one, bare, failing = (
        behaviour_hash(solver(), made)
        for made in (choice(), bare_letters_count(), fails_on_no_text())
    )
    assert len({one, bare, failing}) == 3


def test_a_scorer_that_reads_alike_has_the_same_hash() -> None:
    """What a scorer says beside its reading does not matter."""
    assert behaviour_hash(solver(), reads_alike()) == behaviour_hash(solver(), choice())


def test_a_solver_that_marks_other_choices_has_another_hash() -> None:
    """Upstream's solver is the one that looks for the letter, so it counts, too."""

    async def marks_the_key(state: TaskState, generate: object) -> TaskState:
        state = await solver()(state, generate)  # type: ignore[arg-type]
        for at in range(4):
            state.choices.mark_choice(at, "ABCD"[at] == KEY)
        return state

    assert behaviour_hash(marks_the_key, choice()) != behaviour_hash(solver(), choice())


def test_the_hash_asks_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment, which names the model that is evaluated, stays as it was."""
    monkeypatch.delenv("INSPECT_EVAL_MODEL", raising=False)
    behaviour_hash(solver(), choice())
    assert "INSPECT_EVAL_MODEL" not in os.environ


def test_versions_without_a_scorer_are_understood() -> None:
    """What capgate 0.1 recorded of today's scorer is hashed as it was, and so is today's."""
    today = mmlu_task(next(iter(TASKS)), 512).versions
    before = {"task": today["task"], "inspect_ai": "0.3.285", "inspect_evals": "0.26.0"}
    known = {**before, "scorer": scorer_of(before)}
    assert hashed_versions(before) == before == hashed_versions({**known, "inspect_ai": "0.4.0"})


def test_the_scorer_of_the_installed_packages_is_the_recorded_one() -> None:
    """Each version of inspect_ai and inspect_evals that capgate allows reads answers alike."""
    recorded = scorer_of({"inspect_ai": "0.3.285", "inspect_evals": "0.26.0"})
    assert mmlu_task(next(iter(TASKS)), 512).versions["scorer"] == recorded


def test_only_the_scorer_and_the_task_are_hashed() -> None:
    """Versions of packages leave the hash alone; the scorer and the task do not."""
    new = {"task": "t@1", "scorer": "a" * 16, "inspect_ai": "1", "inspect_evals": "1"}
    assert hashed_versions(new) == hashed_versions({**new, "inspect_ai": "2", "inspect_evals": "3"})
    assert hashed_versions(new) != hashed_versions({**new, "scorer": "b" * 16})
    assert hashed_versions(new) != hashed_versions({**new, "task": "t@2"})
    assert hashed_versions({"task": "t@1", "inspect_ai": "1"})["inspect_ai"] == "1"
