"""`capgate list-models`: the targets of a file, and whether their servers serve them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.server import Server
from tests.unit.commands.conftest import Told

Write = Callable[[dict[str, Any]], None]
KEY = "key-of-a-test-0123456789"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes `config/models.yaml` of an empty project, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SERVER_KEY", raising=False)
    (tmp_path / "config").mkdir()

    def to_file(targets: dict[str, Any]) -> None:
        (tmp_path / "config" / "models.yaml").write_text(yaml.safe_dump(targets))

    return to_file


def entry(url: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A target at a URL."""
    return {"model_name": "smollm2", "base_url": url, "context_window": 2048, **changes}


def test_a_table_for_people(write: Write, told: Told) -> None:
    """A line for each target: provider, model, host, base, and whether its key is set."""
    described = entry("http://gpu:8000/v1", api_key_env="SERVER_KEY", description="our GPU")
    write({"one": {**described, "default": True}, "tuned": {"adapter_of": "one"}})
    lines = told("list-models")[0].splitlines()
    row = next(line for line in lines if "one (default)" in line)
    assert "gpu:8000" in row
    assert "SERVER_KEY (not set)" in row
    assert "our GPU" in row
    assert "of one" in next(line for line in lines if line.split()[0] == "tuned")
    assert "reachable" not in lines[0]


def test_json_for_programs(write: Write, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object a target; a key is told to be set and never shown."""
    monkeypatch.setenv("SERVER_KEY", KEY)
    write({"one": entry("http://gpu:8000/v1", api_key_env="SERVER_KEY")})
    out, err = told("list-models", "--json")
    assert KEY not in out + err
    assert json.loads(out) == [
        {
            "id": "one",
            "default": False,
            "provider": json.loads(out)[0]["provider"],
            "model": "smollm2",
            "host": "gpu:8000",
            "adapter_of": None,
            "key_variable": "SERVER_KEY",
            "key_set": True,
            "description": "",
            "reachable": None,
            "finding": "",
        }
    ]


def test_by_provider(write: Write, told: Told) -> None:
    """`--provider` lists its targets only; one that has none is told with those there are."""
    routed = entry("https://openrouter.ai/api/v1", model_name="a/b", provider="openrouter")
    write({"one": entry("http://gpu:8000/v1", provider="vllm"), "routed": routed})
    out, _ = told("list-models", "--provider", "openrouter", "--json")
    assert [one["id"] for one in json.loads(out)] == ["routed"]
    _, err = told("list-models", "--provider", "nobody", code=4)
    assert "no target of the provider 'nobody'" in err
    assert "openrouter, vllm" in err


def test_servers_that_serve_their_models(write: Write, told: Told, server: Server) -> None:
    """`--check` asks each server; with all of them reachable the exit code is 0."""
    server.models = ("smollm2", "tuned")
    write({"one": entry(server.url), "tuned": {"adapter_of": "one"}})
    lines = told("list-models", "--check")[0].splitlines()
    assert "reachable" in lines[0]
    assert "✓ reachable, loaded" in next(line for line in lines if line.split()[0] == "tuned")
    assert not server.chats


def test_servers_that_do_not(write: Write, told: Told, server: Server) -> None:
    """`--check` ends with 1 where a server or a model is missing, and says what was found."""
    write({"other": entry(server.url, model_name="other"), "gone": entry("http://127.0.0.1:9/v1")})
    out, _ = told("list-models", "--check", "--json", code=1)
    found = {one["id"]: one for one in json.loads(out)}
    assert (found["other"]["reachable"], found["gone"]["reachable"]) == (False, False)
    assert "other" in found["other"]["finding"]
    assert "nothing accepts connections" in found["gone"]["finding"]


def test_a_server_that_the_run_starts(write: Write, told: Told) -> None:
    """A target that is served from here is not started only to be checked."""
    serve = {"engine": "vllm", "model": "some/model"}
    write({"own": {"model_name": "m", "context_window": 2048, "serve": serve}})
    (found,) = json.loads(told("list-models", "--check", "--json")[0])
    assert (found["reachable"], found["finding"]) == (None, "started by the run")
    assert found["host"] == "started here (vllm)"


@pytest.mark.usefixtures("write")
def test_a_missing_file(told: Told) -> None:
    """A file that is not there is named, with usage's exit code."""
    assert (
        "nowhere.yaml does not exist"
        in told("list-models", "--models-file", "nowhere.yaml", code=4)[1]
    )


def test_a_faulty_file(write: Write, told: Told) -> None:
    """All faults of the file are told at once."""
    write({"one": {"base_url": "nonsense"}, "two": entry("http://gpu:8000/v1", colour="red")})
    _, err = told("list-models", code=4)
    assert "base_url" in err
    assert "colour" in err
