"""What a person is told while a server starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.doubles.vllm import interpreter

from capgate.config.targets import Target, VllmServe
from capgate.serving.engines import managed, waiting


def test_a_slow_start_is_told_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once with its log and limit, then with the seconds so far, and when it is ready."""
    monkeypatch.setattr(waiting, "FIRST_LINE_SECONDS", 0.1)
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    spec = VllmServe(
        engine="vllm",
        model="org/model",
        python=str(interpreter(tmp_path / "python")),
        env={"DOUBLE_WAITS_FOR": str(ready)},
    )
    target = Target(id="mine", model_name="mine", serve=spec)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 4:
            ready.write_text("\n")

    server = managed.start(target, tmp_path / "logs", say)
    server.stop()
    assert lines[0] == f"mine: starting vLLM (log: {server.log}), up to 900 s"
    middle = lines[1:-1]
    assert len(middle) >= 3
    assert all(re.fullmatch(r"mine: vLLM is still starting, \d+ s", line) for line in middle)
    assert re.fullmatch(r"mine: vLLM is ready after \d+ s", lines[-1])
    assert len(middle) < 10
