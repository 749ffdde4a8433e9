"""`run_mmlu_benchmark.py` and `run_mmlu_openrouter.py`: what they take, and what they end with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from capgate.commands.script_aliases import benchmark, openrouter


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a target of its own and two of OpenRouter's; the working directory."""
    monkeypatch.chdir(tmp_path)

    def entry(name: str, provider: str) -> dict[str, Any]:
        url = "http://127.0.0.1:9/v1"
        return {"model_name": name, "provider": provider, "base_url": url, "context_window": 2048}

    targets = {
        "own": entry("smollm2", "vllm"),
        "gpt": entry("openai/gpt", "openrouter"),
        "claude": entry("anthropic/claude", "openrouter"),
    }
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "models.yaml").write_text(yaml.safe_dump(targets, sort_keys=False))
    return tmp_path


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "models of OpenRouter: gpt, claude"),
        (("--model-id", "own"), "own is not a model of OpenRouter (its provider is vllm)"),
        (("--model-id", "nobody"), "nobody"),
        (("--check",), "--check and --json belong to --list-models"),
    ],
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """The fault is a paragraph; the last line names the exit code and what it means."""
    assert openrouter(arguments) == 4
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[0]
    assert lines[0].startswith("run_mmlu_openrouter.py: ")
    assert lines[-1] == "run_mmlu_openrouter.py: exit code 4 (wrong usage)"


@pytest.mark.usefixtures("project")
def test_openrouter_s_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list-models` of the one script lists OpenRouter's alone, of the other one all."""
    assert openrouter(["--list-models", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [one["id"] for one in json.loads(out)] == ["gpt", "claude"]
    assert err == ""
    assert benchmark(["--list-models", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == ["own", "gpt", "claude"]


def test_a_listing_that_is_red_has_no_verdict(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` ends with 1 where a server is missing, which is not called REGRESSION."""
    file = project / "config" / "models.yaml"
    file.write_text(yaml.safe_dump({"own": yaml.safe_load(file.read_text())["own"]}))
    assert benchmark(["--list-models", "--check"]) == 1
    out, err = capsys.readouterr()
    assert "nothing accepts connections" in out
    assert "REGRESSION" not in err


def test_a_listing_without_a_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file is wrong usage, and the last line says so."""
    (project / "config" / "models.yaml").unlink()
    assert benchmark(["--list-models"]) == 4
    err = capsys.readouterr().err
    assert "models.yaml does not exist" in err
    assert err.splitlines()[-1] == "run_mmlu_benchmark.py: exit code 4 (wrong usage)"
