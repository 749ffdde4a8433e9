"""Runs of base models, which answer completions of a text and no chats."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
import yaml
from tests.doubles.vllm import Vllm
from tests.integration.conftest import NEEDS_LLAMACPP, REAL, Project, no_traceback, target
from tests.integration.test_adapters import MINE, Home, forgot, like_a_model

from capgate.benchmarks.mmlu.task import TASKS


@pytest.fixture
def home(project: Project) -> Home:
    """A project with an adapter on disk."""
    return Home(project)


def bare(**keys: object) -> Vllm:
    """A server whose model has no chat template; its adapters are loaded as they come."""
    server = Vllm(answer=like_a_model, **keys)  # type: ignore[arg-type]
    server.template = False
    return server


def test_base_and_adapter_are_proven_and_judged_by_completions(home: Home) -> None:
    """No chat is asked: proof, preflight and questions are texts; the same gate judges them."""
    with bare() as server:
        good = home.judge(server, mark="quick", prompt_format="completion")
        assert (good.code, good.verdict(MINE)) == (0, "PASS"), good.text
        assert not [asked for asked in server.asked if "/chat/" in asked.path]
        assert all(asked.body["prompt"].endswith("\n\nANSWER:") for asked in server.texts)
    result = home.project.result("base")
    assert result["identity"]["generation"]["prompt_format"].startswith("completion@")
    assert any("prompt_format: completion" in note for note in result["notes"])


def test_a_loss_is_found_by_completions(home: Home) -> None:
    """An adapter that forgot what its base knows is red."""
    with bare(tuned=forgot) as server:
        bad = home.judge(server, mark="quick", prompt_format="completion")
    assert (bad.code, bad.verdict(MINE)) == (1, "REGRESSION"), bad.text


def test_a_dead_adapter_is_found_by_completions(home: Home) -> None:
    """An adapter that does nothing is an error, as it is with chats."""
    with bare(pull=0.0) as server:
        outcome = home.judge(server, prompt_format="completion")
        assert server.adapters == {}
    assert outcome.code == 11, outcome.text
    assert "loaded and does nothing" in outcome.text


def test_base_and_adapter_are_judged_by_log_likelihood(home: Home) -> None:
    """Letters are not written but compared; the same gate judges, and the report says how."""
    keys = {"prompt_format": "completion", "answer_by": "loglikelihood"}
    with bare() as server:
        good = home.judge(server, mark="quick", **keys)
        assert (good.code, good.verdict(MINE)) == (0, "PASS"), good.text
        asked = len(server.texts)
        again = home.judge(server, mark="quick", **keys)
        assert (again.code, again.verdict(MINE)) == (0, "PASS"), again.text
        repeated = [one.body["prompt"] for one in server.texts[asked:] if "echo" in one.body]
    # The preflight's question alone is asked again; the answers are stored.
    assert len({prompts[0] for prompts in repeated}) <= 1
    result = home.project.result("base")
    assert result["identity"]["generation"]["answer_by"].startswith("loglikelihood@")
    assert any("answer_by: loglikelihood" in note for note in result["notes"])
    assert result["overall"]["unparsed"] == 0


def test_a_loss_is_found_by_log_likelihood(home: Home) -> None:
    """An adapter that forgot what its base knows is red."""
    with bare(tuned=forgot) as server:
        bad = home.judge(
            server, mark="quick", prompt_format="completion", answer_by="loglikelihood"
        )
    assert (bad.code, bad.verdict(MINE)) == (1, "REGRESSION"), bad.text


def test_a_chat_without_a_template_names_the_key(home: Home) -> None:
    """A base that is asked in a chat is an error, which says how it can be asked."""
    with bare() as server:
        outcome = home.judge(server)
    assert outcome.code == 11, outcome.text
    assert "prompt_format: completion" in " ".join(outcome.text.split())
    assert no_traceback(outcome.text)


def test_answers_of_chats_are_not_taken_for_completions(project: Project) -> None:
    """A target whose format changes is asked anew, and its baseline of chats is refused."""
    options = ("benchmarks", "-m", "full", "--model-id", "base", "--measure")
    with Vllm(answer=like_a_model) as server:
        project.targets(base=target(server.url))
        assert project.pytest(*options).code == 0
        chats = len(server.chats)
        recorded = project.capgate("baseline", "record", "base").finish()
        assert recorded.code == 0, recorded.text
        project.targets(base=target(server.url, prompt_format="completion"))
        assert project.pytest(*options).code == 0
        assert len(server.texts) == len(server.chats) == chats
        judged = project.pytest(*(o for o in options if o != "--measure"), "--baseline")
    assert judged.code == 11, judged.text
    assert "prompt_format: None → completion@" in " ".join(judged.text.split())


@pytest.mark.slow
@NEEDS_LLAMACPP
def test_llamacpp_completes(project: Project) -> None:
    """Real llama.cpp goes on with five examples; letters are read, and each answer is a line."""
    file = project.root / "config" / "models.yaml"
    entry = yaml.safe_load(file.read_text())[REAL]
    del entry["answer_format"]
    project.write(
        "config/models.yaml", yaml.safe_dump({REAL: {**entry, "prompt_format": "completion"}})
    )
    shots = max(TASKS, key=TASKS.__getitem__)
    outcome = project.pytest(
        *("benchmarks", "-k", "abstract_algebra", "-m", "full", "--measure", "--limit", "4"),
        *("--subjects", "abstract_algebra", "--max-tokens", "16", "--tasks", shots),
    )
    assert outcome.code == 0, outcome.text
    result = project.result(REAL)["overall"]
    assert result["correct"] + result["wrong"]
    with contextlib.closing(sqlite3.connect(project.root / "reports" / "answers.sqlite")) as db:
        texts = {text for (text,) in db.execute("SELECT text FROM answers")}
    assert all(text.startswith("ANSWER:") and "\n" not in text for text in texts), texts


@pytest.mark.slow
@NEEDS_LLAMACPP
def test_a_server_without_echo_is_refused_before_the_first_question(project: Project) -> None:
    """Real llama.cpp gives no log-probabilities of a prompt: one line says so, and the remedy."""
    file = project.root / "config" / "models.yaml"
    entry = yaml.safe_load(file.read_text())[REAL]
    del entry["answer_format"]
    keys = {"prompt_format": "completion", "answer_by": "loglikelihood"}
    project.write("config/models.yaml", yaml.safe_dump({REAL: {**entry, **keys}}))
    outcome = project.pytest("benchmarks", "-m", "full", "--measure", "--limit", "4")
    assert outcome.code == 11, outcome.text
    said = " ".join(outcome.text.split())
    assert "does not give the log-likelihood of each choice" in said
    assert "Take answer_by out" in said
    assert not project.stored().get("correct", 0) + project.stored().get("wrong", 0)
    assert no_traceback(outcome.text)
