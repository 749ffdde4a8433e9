"""`make demo` where its server can't be had: it says so, and makes nothing up."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.processes import run

REPOSITORY = Path(__file__).parents[2]

_DEMO = """
import os, sys
from pathlib import Path

os.chdir({repository!r})
sys.path.insert(0, "scripts")
import demo

demo.WORK = Path({work!r})
demo.RESULT = demo.WORK / "reports" / "my-adapter" / "mmlu_my-adapter_latest.json"
demo.VLLM = demo.WORK / "no-python"
demo.teach = lambda: demo.WORK / "nothing"
sys.exit(demo.main())
"""


def test_without_a_server(tmp_path: Path) -> None:
    """A suite that could not judge is told of in a line, and an earlier demo's result is not."""
    old = tmp_path / "reports" / "my-adapter" / "mmlu_my-adapter_latest.json"
    old.parent.mkdir(parents=True)
    domains = {"humanities": {"accuracy": 0.2}, "stem": {"accuracy": 1.0}}
    old.write_text(json.dumps({"domains": domains, "verdict": {"kind": "REGRESSION"}}))
    program = tmp_path / "program.py"
    program.write_text(_DEMO.format(repository=str(REPOSITORY), work=str(tmp_path)))
    code, text, _ = run((sys.executable, str(program)), REPOSITORY, os.environ, timeout=300)
    assert code == 1, text
    assert "The suite could not judge: exit code 11" in text
    assert "vLLM is not installed" in " ".join(text.split())
    assert "Traceback" not in text
    assert "humanities 20%" not in text
