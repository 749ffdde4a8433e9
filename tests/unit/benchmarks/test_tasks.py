"""The task: upstream's solver and scorer, with a prompt that is known by its hash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.model import get_model
from inspect_ai.solver import generate
from inspect_ai.util import registry_info
from tests.doubles.server import Server

import capgate.asking.inspect_backend.provider  # noqa: F401 (registers the provider)
from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.task import TASKS, MmluTask, mmlu_task
from capgate.common.errors import ConfigError

ZERO, FIVE = TASKS


def test_the_number_of_shots_is_the_task_s() -> None:
    """The two tasks differ in their few-shot examples."""
    assert (mmlu_task(ZERO, 512).shots, mmlu_task(FIVE, 512).shots) == (0, 5)


def test_the_prompt_hash_is_stable_and_tells_the_tasks_apart() -> None:
    """Built anew it is the same; 0 and 5 shots never share answers."""
    first, again, other = (MmluTask(name, 512).prompt_hash for name in (ZERO, ZERO, FIVE))
    assert first == again
    assert first != other
    assert len(first) == 16


def test_the_prompt_hash_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making it asks no model and leaves the environment as it was."""
    monkeypatch.delenv("INSPECT_EVAL_MODEL", raising=False)
    before = MmluTask(ZERO, 512).prompt_hash
    assert "INSPECT_EVAL_MODEL" not in os.environ
    monkeypatch.setenv("INSPECT_EVAL_MODEL", "mockllm/model")
    assert MmluTask(ZERO, 512).prompt_hash == before
    assert os.environ["INSPECT_EVAL_MODEL"] == "mockllm/model"


def test_a_token_limit_that_upstream_would_raise_is_refused() -> None:
    """Too small a limit is refused, since the solver would silently ask for more."""
    with pytest.raises(ConfigError, match="Ask for at least 16"):
        mmlu_task(ZERO, 15)
    assert mmlu_task(ZERO, 16).max_tokens == 16


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    """A mistyped task is refused with the one that was probably meant."""
    with pytest.raises(ConfigError, match="Use inspect_evals/mmlu_5_shot"):
        mmlu_task("mmlu_5_shots", 512)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TASKS)
def test_the_request_carries_the_token_limit_and_upstream_s_prompt(
    name: str, tmp_path: Path
) -> None:
    """What reaches the server: the asked-for limit, temperature 0, and the question in form."""
    asks = mmlu_task(name, 512)
    (question,) = load_questions("bundled", shots=asks.shots).by_subject["anatomy"][:1]
    with Server(models=("m",)) as server:
        model = get_model("capgate/m", base_url=server.url, api_key="k", memoize=False)
        (log,) = inspect_eval(
            asks.task([question], shard="anatomy"),
            model=model,
            log_dir=str(tmp_path),
            display="none",
        )
    assert log.status == "success"
    (asked,) = server.chats
    messages = asked.body["messages"]
    assert (asked.body["max_tokens"], asked.body["temperature"]) == (512, 0.0)
    assert all(f") {choice}" in messages[-1]["content"] for choice in question.sample.choices)
    assert "ANSWER: $LETTER" in messages[-1]["content"]
    examples = ["system", *["user", "assistant"] * 2]
    assert [message["role"] for message in messages] == [*(examples if asks.shots else []), "user"]


def test_the_direct_runner_asks_by_the_solver_that_upstreams_makes() -> None:
    """It is made once for all samples, where it asks and reads as upstream's solver does."""
    asks = mmlu_task(ZERO, 512)
    (question,) = load_questions("bundled", shots=0).by_subject["anatomy"][:1]
    made = asks.task([question], shard="anatomy")
    assert registry_info(asks.direct_solver(made)).name == "inspect_ai/multiple_choice"


def test_a_solver_of_another_kind_is_the_direct_runners_own() -> None:
    """A task whose solver is not upstream's is asked by that solver."""
    asks = mmlu_task(ZERO, 512)
    (question,) = load_questions("bundled", shots=0).by_subject["anatomy"][:1]
    made = asks.task([question], shard="anatomy")
    made.solver = generate()
    assert asks.direct_solver(made) is made.solver
