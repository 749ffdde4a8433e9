"""The commands that users type, each run as a process against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.openrouter import KEY, OpenRouter
from tests.doubles.server import Server
from tests.integration.checkout import VLLM_KEY, Checkout, like_a_model, vllm_double
from tests.integration.conftest import no_traceback, question_of, questions, right, wrong

BENCHMARK = "run_mmlu_benchmark.py"
OPENROUTER = "run_mmlu_openrouter.py"
TARGET = "lambda-ai-gpu"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A user's checkout."""
    return Checkout.make(tmp_path / "checkout")


@pytest.fixture
def vllm(checkout: Checkout) -> Iterator[Server]:
    """A vLLM server that the checkout's `lambda-ai-gpu` names."""
    with vllm_double() as server:
        checkout.use(vllm=server)
        yield server


def bodies(server: Server) -> list[dict[str, Any]]:
    """The requests for the benchmark's questions, without liveness' own."""
    return [one.body for one in server.chats if "ANSWER: $LETTER" in str(one.body["messages"])]


def test_make_lists_its_targets(checkout: Checkout) -> None:
    """`make` alone lists each target with a line."""
    outcome = checkout.run("make")
    assert outcome.code == 0
    for name in ("mmlu-quick", "mmlu-benchmark", "mmlu-adapter", "mmlu-openrouter", "list-models"):
        (line,) = [one for one in outcome.text.splitlines() if f"make {name} " in one]
        assert len(line.split(name)[1].strip()) > 10


def test_mmlu_quick(checkout: Checkout, vllm: Server) -> None:
    """`make mmlu-quick` takes a short look at a target that has nothing to be compared with.

    The 512 tokens and temperature 0 of the defaults reach the server.
    """
    outcome = checkout.make_target("mmlu-quick", f"MODEL_ID={TARGET}")
    assert outcome.code == 0, outcome.text
    assert "measured, not judged: lambda-ai-gpu" in outcome.text
    assert "exit code 0" in outcome.text
    assert sum(questions(vllm.chats).values()) == 10
    assert {(body["max_tokens"], body["temperature"]) for body in bodies(vllm)} == {(512, 0.0)}
    assert VLLM_KEY not in outcome.text


@pytest.mark.slow
def test_every_way_to_run_gives_one_result(checkout: Checkout, vllm: Server) -> None:
    """make, script, `capgate run` and pytest share their defaults and their store."""
    first = checkout.make_target("mmlu-benchmark", f"MODEL_ID={TARGET}", "MMLU_LIMIT=5")
    assert first.code == 0, first.text
    assert sum(questions(vllm.chats).values()) == 5
    before = checkout.result(TARGET)
    asked = ("--model-id", TARGET, "--limit", "5")
    for command in (
        ("python", f"scripts/{BENCHMARK}", *asked),
        ("capgate", "run", "--measure", *asked),
        ("pytest", "benchmarks", "-m", "full", "--measure", *asked),
    ):
        outcome = checkout.run(*command)
        assert outcome.code == 0, outcome.text
        now = checkout.result(TARGET)
        assert now["fingerprint"] == before["fingerprint"]
        assert now["subjects"] == before["subjects"]
        assert now["overall"]["asked"] == 0
    assert sum(questions(vllm.chats).values()) == 5


def test_mmlu_adapter(checkout: Checkout, vllm: Server) -> None:
    """`make mmlu-adapter` compares an adapter with its base; the gate's code is in make's message.

    make itself can only end with 2 where a recipe fails.
    """
    outcome = checkout.make_target("mmlu-adapter", "ADAPTER_NAME=my-adapter", "MMLU_LIMIT=4")
    assert outcome.code == 2
    assert "Error 10" in outcome.text
    assert "exit code 10 (INCONCLUSIVE)" in outcome.text
    assert "INCONCLUSIVE: lambda-ai-gpu+my-adapter" in outcome.text
    assert {body["model"] for body in bodies(vllm)} == set(vllm.models)
    assert (checkout.root / "reports" / "lambda-ai-gpu+my-adapter").is_dir()


def test_an_adapter_that_lost_nothing_passes(checkout: Checkout, vllm: Server) -> None:
    """The script's own exit code is the gate's: 0 for an adapter that answers as its base."""
    outcome = checkout.script(BENCHMARK, "--quick", "--adapter-name", "my-adapter")
    assert outcome.code == 0, outcome.text
    assert "PASS: lambda-ai-gpu+my-adapter" in outcome.text
    assert vllm.chats


def test_an_adapter_that_forgot_is_a_regression(checkout: Checkout) -> None:
    """The script's exit code is 1 for an adapter that answers everything wrong."""

    def forgetful(asked: dict[str, Any]) -> str:
        lost = asked["model"] == "my-adapter" and "ANSWER: $LETTER" in str(asked["messages"])
        return wrong(asked) if lost else like_a_model(asked)

    with vllm_double() as server:
        server.answer = forgetful
        checkout.use(vllm=server)
        outcome = checkout.script(
            BENCHMARK, "--quick", "--model-id", TARGET, "--adapter-name", "my-adapter"
        )
    assert outcome.code == 1, outcome.text
    assert "REGRESSION: lambda-ai-gpu+my-adapter" in outcome.text


def test_options_reach_the_server(checkout: Checkout, vllm: Server) -> None:
    """Task, temperature and tokens are honoured, and results go where `--output-dir` says."""
    outcome = checkout.script(
        BENCHMARK,
        *("--model-id", TARGET, "--tasks", "inspect_evals/mmlu_5_shot", "--limit", "2"),
        *("--temperature", "0.3", "--max-tokens", "1024", "--output-dir", "results/custom_mmlu"),
    )
    assert outcome.code == 0, outcome.text
    asked = [body for body in bodies(vllm) if "even?" not in question_of(body)]
    assert {(body["max_tokens"], body["temperature"]) for body in asked} == {(1024, 0.3)}
    assert all(len(body["messages"]) > 1 or "ANSWER: " in str(body) for body in asked)
    results = checkout.root / "results" / "custom_mmlu" / TARGET
    latest = json.loads((results / f"mmlu_{TARGET}_latest.json").read_text())
    assert latest["task"] == "inspect_evals/mmlu_5_shot"
    assert latest["limit"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--max-tokens", "8"), 4, "--max-tokens 8 is below 16"),
        (("--max-tokens", "4096"), 4, "above its max_output_tokens of 1024"),
        (("--tasks", "mmlu_5_shot"), 4, "id you mean inspect_evals/mmlu_5_shot"),
        (("--limt", "5"), 4, "--limt"),
        (("--check",), 4, "belong to --list-models"),
    ],
)
def test_what_would_be_overridden_is_refused(
    checkout: Checkout, vllm: Server, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """An option that the task would override, or that is misspelt, is refused at once."""
    outcome = checkout.script(BENCHMARK, "--model-id", TARGET, *arguments)
    assert outcome.code == code, outcome.text
    assert said in outcome.text
    assert not vllm.chats
    assert no_traceback(outcome.text)


def test_nothing_in_a_variable_is_run(checkout: Checkout) -> None:
    """Neither make nor the shell runs what stands in a variable."""
    hostile = "a'b $(shell touch made) `touch made`; touch made $(touch made) \"x"
    for target, variable in (
        ("mmlu-quick", "MODEL_ID"),
        ("mmlu-benchmark", "MMLU_LIMIT"),
        ("mmlu-adapter", "ADAPTER_NAME"),
        ("mmlu-openrouter", "UTILITY_MODELS"),
    ):
        outcome = checkout.make_target(target, f"{variable}={hostile}")
        assert outcome.code == 2
        assert re.search(r"Error (4|11)$", outcome.text, re.MULTILINE)
    assert not (checkout.root / "made").exists()


def test_a_line_break_in_a_variable_is_told(checkout: Checkout) -> None:
    """A value over two lines is refused in words, not by the shell's."""
    outcome = checkout.make_target("mmlu-quick", "MODEL_ID=a\nb")
    assert outcome.code == 2
    assert "a value has a line break" in outcome.text
    assert "yntax error" not in outcome.text


def test_an_unknown_provider_is_told(checkout: Checkout) -> None:
    """A listing of nobody's models names the providers there are."""
    outcome = checkout.run("capgate", "list-models", "--provider", "nobody")
    assert outcome.code == 4
    assert "there is no target of the provider 'nobody'" in outcome.text
    assert "openrouter" in outcome.text


def test_the_models_are_listed(checkout: Checkout, vllm: Server) -> None:
    """One listing for all: id, provider, model, host, adapter, key; what answers with --check."""
    with OpenRouter() as router:
        checkout.use(vllm=vllm, router=router)
        checkout.edit("lost", base_url="http://127.0.0.1:9/v1", model_name="m", dataset="bundled")
        checkout.edit("tuned", adapter_of=TARGET, path="adapters/tuned")
        make = checkout.make_target("list-models")
        script = checkout.script(BENCHMARK, "--list-models")
        ours = checkout.script(OPENROUTER, "--list-models", OPENROUTER_API_KEY="")
        checked = checkout.run("capgate", "list-models", "--check", "--json")
    assert make.code == script.code == ours.code == 0
    (line,) = [one for one in make.text.splitlines() if one.strip().startswith(TARGET)]
    for piece in ("lambda", "meta-llama/Llama-3.1-8B-Instruct", "127.0.0.1", "VLLM_API_KEY (set)"):
        assert piece in line
    assert line in script.text
    assert "started here (llamacpp)" in script.text
    assert f"of {TARGET}" in script.text
    assert TARGET not in ours.text
    assert ours.text.count("OPENROUTER_API_KEY (not set)") == 2
    found = {one["id"]: one for one in json.loads(checked.text)}
    reachable = {name: one["reachable"] for name, one in found.items()}
    assert reachable == {
        "local-smollm2": None,
        TARGET: True,
        "managed-llama": None,
        "gpt-4o": True,
        "claude-sonnet-4": True,
        "lost": False,
        "tuned": True,
    }
    assert "nothing accepts connections" in found["lost"]["finding"]
    assert checked.code == 1
    for text in (make.text, script.text, ours.text, checked.text):
        assert VLLM_KEY not in text
        assert KEY not in text


def test_the_default_model_is_real(checkout: Checkout) -> None:
    """Without a MODEL_ID the default target is taken: a real model, started and ended here."""
    outcome = checkout.make_target("mmlu-benchmark", "MMLU_LIMIT=2")
    assert "INCONCLUSIVE: local-smollm2" in outcome.text
    assert "Error 10" in outcome.text
    assert checkout.result("local-smollm2")["overall"]["questions"] == 2
    assert not checkout.processes()


def test_a_run_beside_published_scores(checkout: Checkout, vllm: Server) -> None:
    """`capgate compare RUN --published` shows it beside the score of the model it serves."""
    vllm.answer = right
    assert checkout.script(BENCHMARK, "--quick", "--model-id", TARGET).code == 0
    outcome = checkout.run("capgate", "compare", "latest", "--published")
    assert outcome.code == 0, outcome.text
    assert "100.0%" in outcome.text
    assert "68.1%" in outcome.text
    assert "was taken for 'Llama-3.1-8B-Instruct'" in outcome.text
    assert "difference +31.9 points" in outcome.text
    assert "a point or two means nothing" in outcome.text
    checkout.write("mine.csv", "Model Name,MMLU\nSomething-Else,70.0\n")
    other = checkout.run("capgate", "compare", "latest", "--published", "mine.csv", "--json")
    assert json.loads(other.text)["published"][0]["published"] is None
