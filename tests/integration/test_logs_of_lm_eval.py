"""Logs that lm-evaluation-harness writes now are judged as those that tests/logs keeps of it.

`CAPGATE_LM_EVAL` names the Python that it is installed for; `make bench` makes one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.conftest import REPOSITORY

from capgate.cli import main

PROGRAM = REPOSITORY / "tests" / "doubles" / "lm_eval_run.py"

Run = Callable[..., Path]


@pytest.fixture
def lm_eval(tmp_path: Path) -> Run:
    """Has lm-evaluation-harness ask its tasks; returns the folder of its logs."""
    named = os.environ.get("CAPGATE_LM_EVAL", str(REPOSITORY / ".venv-bench" / "bin" / "python"))
    if not Path(named).is_file():
        pytest.skip("needs lm-evaluation-harness: CAPGATE_LM_EVAL, or `make bench`")

    def run(model: str, *arguments: str) -> Path:
        out = tmp_path / model
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        command = [named, str(PROGRAM), str(out), "--model", model, "--questions", "12", *arguments]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2_000:]
        return out

    return run


def told(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> tuple[int, str, str]:
    """The exit code and what `capgate decide` printed."""
    capsys.readouterr()
    code = main(["decide", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_logs_that_are_written_now_are_judged(
    lm_eval: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """The harness's own logs of two models are paired, and its settings that differ are refused."""
    yesterday = lm_eval("yesterday")
    code, out, _ = told(capsys, yesterday, lm_eval("today", "--wrong", "products"), "--json")
    found = json.loads(out)["benchmarks"]
    assert code == 1
    lost = {one["subject"]: one["losses"] for one in found["arithmetic"]["subjects"]}
    assert lost == {"products": 12, "sums": 0}
    assert found["larger"]["verdict"]["counts"]["n"] == 12
    code, out, _ = told(capsys, yesterday, lm_eval("chatty", "--chatty", "sums"), "--json")
    assert code == 10
    counts = json.loads(out)["benchmarks"]["arithmetic"]["verdict"]["counts"]
    assert counts["candidate_unparsed"] == 12
    for further, said in (
        (("--shots", "2"), "few-shot examples: 0 in the reference, 2 in the candidate"),
        (("--version", "2"), "task version: 1.0 in the reference, 2.0 in the candidate"),
        (("--limit", "9"), "6 of 24 questions are only in the reference"),
    ):
        code, out, _ = told(capsys, yesterday, lm_eval(further[0].strip("-"), *further))
        assert code == 11
        assert said in " ".join(out.split())
