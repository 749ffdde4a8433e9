"""`make demo` and `make sweep-demo` where the server is missing: they say so and invent nothing."""

from __future__ import annotations

import json
import os
import re
import sys
from operator import add, mul, sub
from pathlib import Path

from scripts.taught import sums
from tests.processes import run

REPOSITORY = Path(__file__).parents[2]

_DEMO = """
import os, sys
from pathlib import Path

os.chdir({repository!r})
sys.path.insert(0, "scripts")
import {demo} as demo

demo.WORK = Path({work!r})
demo.VLLM = demo.WORK / "no-python"
demo.teach = lambda: demo.WORK / "nothing"
sys.exit(demo.main())
"""


def test_without_a_server(tmp_path: Path) -> None:
    """A suite that could not judge is told of in a line, and an earlier demo's result is not."""
    old = tmp_path / "reports" / "20260101T000000Z-0001" / "report.json"
    old.parent.mkdir(parents=True)
    old.write_text(json.dumps({"suites": {"lost-sums": {"kind": "REGRESSION"}}}))
    program = tmp_path / "program.py"
    program.write_text(_DEMO.format(demo="demo", repository=str(REPOSITORY), work=str(tmp_path)))
    code, text, _ = run((sys.executable, str(program)), REPOSITORY, os.environ, timeout=300)
    assert code == 1, text
    assert "The suite could not judge: exit code 11" in text
    assert "vLLM is not installed" in " ".join(text.split())
    assert "Traceback" not in text
    assert "lost-sums: REGRESSION" not in text


def test_a_sweep_without_a_server(tmp_path: Path) -> None:
    """A sweep that could not judge is told of in a line, and an earlier one's result is not."""
    old = tmp_path / "reports" / "20260101T000000Z-0001" / "sweep.json"
    old.parent.mkdir(parents=True)
    old.write_text(json.dumps({"rows": [], "trainings": []}))
    adapter = tmp_path / "nothing" / "runs" / "keeps-all" / "checkpoint-100"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    program = tmp_path / "program.py"
    names = {"demo": "sweep_demo", "repository": str(REPOSITORY), "work": str(tmp_path)}
    program.write_text(_DEMO.format(**names))
    code, text, _ = run((sys.executable, str(program)), REPOSITORY, os.environ, timeout=300)
    assert code == 1, text
    assert "The sweep could not judge: exit code 11" in text
    assert "vLLM is not installed" in " ".join(text.split())
    assert "Traceback" not in text


def test_the_sums_are_right() -> None:
    """Each sum of the demo has one right choice, which its letter names, and no sum is repeated."""
    signs = {"addition": add, "subtraction": sub, "multiplication": mul}
    found = list(sums.sums())
    assert len({one["question"] for one in found}) == len(found) == 180
    for one in found:
        first, second = map(int, re.findall(r"[0-9]+", one["question"]))
        right = str(signs[one["group"]](first, second))
        assert one["choices"].count(right) == 1
        assert one["choices"]["ABCD".index(one["answer"])] == right
