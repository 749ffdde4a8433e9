"""A folder of its own for each test, and targets on a double of vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from capgate.config.targets import Target
from capgate.serving.servers import Servers


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache and the working directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def base_target(url: str, **keys: object) -> Target:
    """A base at a server."""
    return Target.model_validate(
        {"id": "base", "model_name": "smollm2", "base_url": url, "context_window": 2048, **keys}
    )


def adapter_target(name: str, **keys: object) -> Target:
    """An adapter of it."""
    return Target.model_validate({"id": name, "model_name": name, "adapter_of": "base", **keys})


def servers_of(*targets: Target, said: list[str] | None = None, **environment: str) -> Servers:
    """The servers of a run of these targets."""
    lines: list[str] = [] if said is None else said
    return Servers({one.id: one for one in targets}, environment, Path("logs"), say=lines.append)
