"""`make demo` where its server can't be had: it says so, and makes nothing up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    program = _DEMO.format(repository=str(REPOSITORY), work=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "The suite could not judge: exit code 11" in done.stdout
    assert "vLLM is not installed" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout
    assert "humanities 20%" not in done.stdout
