"""Asking unreadable answers again in a constrained form: only where a benchmark has such a form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.doubles.place import Place
from tests.doubles.server import Server

from capgate.run.reask import reask
from capgate.run.standalone import local_run

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(5)]


@pytest.fixture
def place(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A project with a file of questions in free text, and a target."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    made = Place(root)
    made.targets(double={"model_name": "m", "base_url": server.url, "model_type": "vllm"})
    (root / "sums.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (root / "config" / "benchmarks.yaml").write_text("sums: {questions: sums.jsonl}\n")
    return made


def test_free_text_is_not_asked_again(place: Place, server: Server) -> None:
    """The reason names the benchmark; nothing is asked, and no shard says that it was tried."""
    settings = place.settings("--model-id", "double", "--benchmark", "sums")
    with local_run(settings) as run:
        assert "sums has no form" in reask(run, "double")
        assert run.store.shards(run.id) == {}
    assert not server.asked
