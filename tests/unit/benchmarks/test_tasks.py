"""The task: upstream's solver and scorer, with a prompt that is known by its hash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.model import get_model
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
    made = asks.direct_task([question], shard="anatomy")
    assert registry_info(made.solver).name == "inspect_ai/multiple_choice"


@pytest.mark.parametrize("name", TASKS)
def test_the_direct_runners_task_is_upstreams_but_for_the_solver(name: str) -> None:
    """Name, version, settings, samples and what logs say of it are the same."""
    asks = mmlu_task(name, 512)
    questions = load_questions("bundled", shots=asks.shots).by_subject["anatomy"][:3]
    theirs, ours = (make(questions, shard="anatomy") for make in (asks.task, asks.direct_task))
    for told in ("name", "version", "metadata", "config"):
        assert getattr(ours, told) == getattr(theirs, told)
    assert list(ours.dataset) == list(theirs.dataset)


_BEGIN = """
import json, sys
from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.task import mmlu_task
asks = mmlu_task("inspect_evals/mmlu_0_shot", 512)
questions = load_questions(sys.argv[1], shots=0).questions
asks.direct_task([*questions[:2], asks.probe], shard="some")
told = [asks.prompt_hash, asks.versions, [one.hash for one in questions]]
told += [one.sample.model_dump(mode="json") for one in (asks.probe, *questions)]
slow = {"datasets", "inspect_evals.mmlu.mmlu", "inspect_evals._registry"} & set(sys.modules)
print(json.dumps([told, sorted(slow)]))
"""


def test_a_later_process_imports_neither_upstreams_loader_nor_all_tasks(tmp_path: Path) -> None:
    """It knows the same of the task and its questions; a changed question is read anew."""
    folder = tmp_path / "mmlu"
    shutil.copytree(str(files("capgate.benchmarks.mmlu") / "bundled"), folder)

    def begun() -> tuple[list[Any], list[str]]:
        done = subprocess.run(
            [sys.executable, "-c", _BEGIN, str(folder)],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            check=True,
            capture_output=True,
            text=True,
        )
        told, slow = json.loads(done.stdout)
        return told, slow

    first, slow = begun()
    assert slow
    assert begun() == (first, [])
    path = folder / "test.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(" the ", " that ", 1), encoding="utf-8")
    changed, _ = begun()
    assert changed[:2] == first[:2]
    assert len(set(changed[2]) - set(first[2])) == 1
