"""The setup's checks: what each finds, and the command that it says mends it."""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.doubles.openrouter import KEY, OpenRouter
from tests.doubles.replies import NO_ROUTE, Reply
from tests.doubles.server import Server, answer
from tests.integration.checkout import VLLM_KEY, Checkout, like_a_model, vllm_double
from tests.integration.conftest import hide, no_traceback

from capgate.commands.checks import machine
from capgate.commands.checks import server as server_checks
from capgate.commands.checks.check import Check
from capgate.commands.doctor import examine
from capgate.commands.options import settings_of

SCRIPT = "test_mmlu_setup.py"
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


@pytest.fixture
def examined(checkout: Checkout, vllm: Server, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """The checkout as the working folder of this process, with its keys in the environment."""
    monkeypatch.chdir(checkout.root)
    for name, value in checkout.environment.items():
        monkeypatch.setenv(name, value)
    assert vllm.port
    return checkout


def checks(**options: object) -> dict[str, Check]:
    """Name to check, for options of `capgate doctor`."""
    given = {"model_id": [TARGET], **options}
    named = {f"capgate_{name}": value for name, value in given.items()}
    return {one.name: one for one in examine(settings_of(argparse.Namespace(**named)))}


def failed(found: dict[str, Check]) -> list[str]:
    """The checks that failed."""
    return [name for name, check in found.items() if check.state == "failed"]


def test_the_default_target_is_examined(checkout: Checkout) -> None:
    """Without a target the default one is started as a run would, and all is well: exit code 0."""
    outcome = checkout.script(SCRIPT)
    assert outcome.code == 0, outcome.text
    assert "✗" not in outcome.text
    for name in ("Python", "packages", "pytest plugin", "models.yaml", "data set", "one question"):
        assert f"✓ {name}" in outcome.text
    assert "started here (llamacpp), answers /health" in outcome.text
    assert "✓ log-probabilities" in outcome.text
    assert not checkout.processes()
    assert not (checkout.root / "reports" / "doctor").exists()


def test_a_fault_is_told_with_its_remedy(checkout: Checkout, vllm: Server) -> None:
    """A ✗ has its finding and its remedy, the summary names it, and the exit code is 1."""
    vllm.stop()
    outcome = checkout.run("capgate", "doctor", "--model-id", TARGET)
    assert outcome.code == 1
    lines = outcome.text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("✗"))
    assert "nothing accepts connections there" in lines[at]
    assert f"--port {vllm.port}" in lines[at + 1]
    assert lines[at + 1].strip().startswith("→ start it there (vllm serve")
    assert "– key                not checked: server failed" in outcome.text
    assert lines[-1] == "1 of 23 checks failed: server"
    assert VLLM_KEY not in outcome.text


def test_json_is_for_scripts(checkout: Checkout, vllm: Server) -> None:
    """`--json` prints one object with every check; no key is in it."""
    outcome = checkout.script(
        SCRIPT, "--model-id", TARGET, "--adapter-name", "my-adapter", "--json"
    )
    assert outcome.code == 0, outcome.text
    # What is said of the adapter goes to standard error, which is shown first.
    found = json.loads(outcome.text[outcome.text.index("{") :])
    assert found["ok"] is True
    assert found["failed"] == []
    adapter = next(one for one in found["checks"] if one["name"] == "adapter")
    assert adapter["state"] == "ok"
    assert "my-adapter is loaded, and its answers differ from its base's" in adapter["finding"]
    assert vllm.chats
    assert VLLM_KEY not in outcome.text


def test_a_python_without_packages_is_told(checkout: Checkout) -> None:
    """Under a Python that lacks them, the missing packages are named, with how to get them."""
    outcome = checkout.run(sys.executable, "-I", "-S", f"scripts/{SCRIPT}")
    assert outcome.code == 1, outcome.text
    assert "✗ packages" in outcome.text
    assert "inspect-evals" in outcome.text
    assert "→ make install" in outcome.text


@pytest.mark.parametrize(
    ("keys", "name", "finding", "remedy"),
    [
        ({"model_name": "openai/other"}, "model served", "does not serve 'other'", "model_name"),
        ({"context_window": 4096}, "context window", "has 2,048 tokens", "context_window: 2048"),
        ({"logprobs": 5}, "log-probabilities", "gives none", "take logprobs out"),
        ({"dataset": "/no/such/folder"}, "data set", "/no/such/folder", "--dataset"),
        ({"api_key_env": "NO_SUCH_KEY"}, "key variable", "NO_SUCH_KEY", "export NO_SUCH_KEY="),
        ({"api_key_env": None}, "key", "asks for an API key", "api_key_env: VLLM_API_KEY"),
        ({"base_url": "nonsense"}, "models.yaml", "expected http://HOST", "configuration.md"),
        ({"max_output_tokens": 100}, "target", "--max-tokens 512", "at most 100"),
    ],
)
def test_each_fault_has_its_check(
    examined: Checkout, keys: dict[str, object], name: str, finding: str, remedy: str
) -> None:
    """A fault of the target's entry fails its own check and no other."""
    examined.edit(TARGET, **keys)
    found = checks()
    assert failed(found) == [name]
    assert finding in found[name].finding
    assert remedy in found[name].remedy


def test_a_wrong_key(examined: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that the server refuses is told without being shown."""
    monkeypatch.setenv("VLLM_API_KEY", "not-the-right-one")
    found = checks()
    assert failed(found) == ["key"]
    assert "HTTP 401" in found["key"].finding
    assert "export VLLM_API_KEY=…" in found["key"].remedy
    assert "not-the-right-one" not in str(found)
    assert examined.root.is_dir()


def test_a_server_without_a_list_of_models(examined: Checkout, vllm: Server) -> None:
    """A server that has no such route is examined by its answers to the configured name."""
    vllm.models_reply = NO_ROUTE
    found = checks()
    assert failed(found) == []
    assert "no list of models (HTTP 404)" in found["key"].finding
    assert "it answers to that name" in found["model served"].finding
    assert examined.root.is_dir()


def test_a_missing_adapter(examined: Checkout) -> None:
    """An adapter that is nowhere is told with what there is, and how to load it."""
    found = checks(adapter_name=["nowhere"])
    assert failed(found) == ["adapter"]
    assert "on the server: my-adapter" in found["adapter"].finding
    assert "inference-server load-adapter" in found["adapter"].remedy
    assert examined.root.is_dir()


def test_unread_answers(examined: Checkout, vllm: Server) -> None:
    """A model that chats fails the question's check, in its own words."""
    vllm.answer = lambda _: "Let us talk about the weather."
    found = checks()
    assert failed(found) == ["one question"]
    assert "the weather" in found["one question"].finding
    assert "answer_format: constrained" in found["one question"].remedy
    assert examined.root.is_dir()


def test_reports_that_cannot_be_written(examined: Checkout) -> None:
    """A folder that can't be written is told before hours of asking."""
    examined.write("taken", "a file")
    found = checks(output_dir="taken")
    assert failed(found) == ["reports"]
    assert "--output-dir" in found["reports"].remedy
    assert "chmod" not in found["reports"].remedy


def test_an_empty_line_of_dotenv(examined: Checkout) -> None:
    """A variable without a value in `.env` is told, and no value of the others is shown."""
    examined.write(".env", "VLLM_API_KEY=\nOTHER=secret-canary-value\n")
    found = checks()
    assert failed(found) == [".env"]
    assert "VLLM_API_KEY" in found[".env"].finding
    assert "secret-canary-value" not in str(found)


def test_a_line_of_dotenv_that_cannot_be_read(
    examined: Checkout, capfd: pytest.CaptureFixture[str]
) -> None:
    """A broken line of `.env` is told by its number alone, once."""
    examined.write(".env", "GOOD=1\nOTHER='secret-canary-value\n")
    found = checks()
    assert failed(found) == [".env"]
    assert "line 2: expected NAME=value" in found[".env"].finding
    assert "secret-canary-value" not in str(found)
    assert "python-dotenv" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("file", "text", "name", "finding"),
    [
        ("thresholds/policy.yaml", "catch: lots\n", "thresholds", "catch"),
        ("thresholds/floors.yaml", f"{TARGET}: {{overall: 65}}\n", "thresholds", "overall"),
        (f"thresholds/baselines/{TARGET}.json", "{}", "reference", "fault"),
        ("config/alerts.yaml", "ci: NO_SUCH_URL\n", "alerts", "NO_SUCH_URL is not set"),
    ],
)
def test_what_a_verdict_rests_on_is_examined(
    examined: Checkout, file: str, text: str, name: str, finding: str
) -> None:
    """A file that would keep a run from its verdict fails its own check and no other."""
    examined.write(file, text)
    found = checks()
    assert failed(found) == [name]
    assert finding in found[name].finding


def test_nothing_to_compare_with_is_told(examined: Checkout) -> None:
    """A target without a reference can be measured; a verdict's needs are named."""
    assert "capgate baseline record" in checks()["reference"].finding
    examined.write("thresholds/floors.yaml", f"{TARGET}: {{overall: 0.5}}\n")
    assert checks()["reference"].finding.startswith("the floor 50.0 %")
    demanded = checks(baseline=True)
    assert failed(demanded) == ["reference"]
    assert "no recorded baseline" in demanded["reference"].finding


def test_log_probabilities_are_optional(examined: Checkout, vllm: Server) -> None:
    """A server that breaks when asked for log-probabilities will do where none are asked for."""

    async def broken(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if asked.get("logprobs"):
            return web.json_response({"error": {"message": "no logprobs here"}}, status=500)
        return await answer(vllm.answer(asked))(request, asked)

    vllm.script(forever=broken)
    found = checks()
    assert failed(found) == []
    assert "no logprobs here" in found["log-probabilities"].finding
    assert examined.root.is_dir()


def test_log_probabilities_of_prompts_are_examined(examined: Checkout, vllm: Server) -> None:
    """A target that answers by them fails where the server does not give them."""
    examined.edit(TARGET, prompt_format="completion", answer_by="loglikelihood")
    found = checks()
    assert failed(found) == []
    assert "4 choices were compared" in found["log-probabilities"].finding
    written = {"index": 0, "text": " A", "finish_reason": "stop"}
    vllm.script(forever=Reply(200, {"object": "text_completion", "choices": [written]}))
    found = checks()
    assert failed(found) == ["one question"]
    assert "log-likelihood" in found["one question"].finding
    assert "answer_by" in found["one question"].finding


def test_a_server_that_hangs(examined: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes connections and says nothing is told with where to look."""
    monkeypatch.setattr(server_checks, "HEALTH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        examined.edit(TARGET, base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        found = checks()
    assert failed(found) == ["server"]
    assert "did not answer /health" in found["server"].finding
    assert "own log" in found["server"].remedy


def test_a_package_that_cannot_be_imported(checkout: Checkout) -> None:
    """Metadata alone is no package: one that can't be imported is a ✗, not a traceback."""
    hidden = str(hide(checkout, "inspect_evals"))
    outcome = checkout.run("capgate", "doctor", PYTHONPATH=hidden)
    assert outcome.code == 1, outcome.text
    assert "✗ packages" in outcome.text
    assert "No module named 'inspect_evals'" in outcome.text
    assert no_traceback(outcome.text)


def test_openrouter_is_examined(examined: Checkout) -> None:
    """A model of OpenRouter: its key is checked where that means something."""
    with OpenRouter(answer=like_a_model) as router:
        examined.use(router=router)
        good = checks(model_id=["gpt-4o"])
        router.key = "sk-or-another"
        bad = checks(model_id=["gpt-4o"])
    assert failed(good) == []
    assert good["key"].finding == "accepted; it may still spend $4.50"
    assert "it has no /health" in good["server"].finding
    assert failed(bad) == ["key"]
    assert KEY not in str(bad)


def test_openrouters_cost_is_told_beforehand(examined: Checkout) -> None:
    """What a whole run will cost, of each benchmark and of all; other servers list no prices."""
    rows = (json.dumps({"question": f"Is {n} a number?", "answer": "yes"}) for n in range(50))
    examined.write("numbers.jsonl", "\n".join(rows))
    examined.write("config/benchmarks.yaml", "numbers: {questions: numbers.jsonl}\n")
    with OpenRouter(answer=like_a_model) as router:
        examined.use(router=router)
        alone = checks(model_id=["gpt-4o"])["cost"].finding
        both = checks(model_id=["gpt-4o"], benchmark=["mmlu", "numbers"])["cost"].finding
    assert alone.startswith("about $")
    said = dict(line.split(": ", 1) for line in both.splitlines())
    assert list(said) == ["mmlu", "numbers", "all"]
    assert said["mmlu"] == alone
    sums = [float(re.findall(r"[$]([0-9.]+)", one)[0]) for one in said.values()]
    assert sums[2] == pytest.approx(sums[0] + sums[1], abs=0.011)


def test_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is not set is told."""
    monkeypatch.setattr(machine.time, "time", lambda: 1000.0)
    assert machine.clock().state == "failed"
    monkeypatch.undo()
    assert machine.clock().state == "ok"


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that is too old is told with the command that takes another."""
    monkeypatch.setattr(machine.sys, "version_info", (3, 10, 4))
    check = machine.python()
    assert check.state == "failed"
    assert "make install PYTHON=" in check.remedy
