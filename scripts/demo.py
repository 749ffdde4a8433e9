"""A red verdict from nothing but this repository: `make demo`.

A tiny Llama is taught the bundled questions, and an adapter that answers those of the
humanities with one letter. Both are served by real vLLM (its CPU build, in .venv-vllm), which
the suite starts by itself; the suite finds out what was lost. Everything it makes goes into
.cache/demo.

Exit codes: 0 the loss was found and named, 1 it was not, 130 broken off with Ctrl-C.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
VLLM: Final = ROOT / ".venv-vllm" / "bin" / "python"
WORK: Final = ROOT / ".cache" / "demo"
RESULT: Final = WORK / "reports" / "my-adapter" / "mmlu_my-adapter_latest.json"
ADAPTER: Final = "forgets_humanities"
TARGETS: Final = """\
tiny:
  model_name: openai/taught-llama
  provider: vllm
  context_window: 2048
  dataset: bundled
  max_connections: 32
  serve:
    engine: vllm
    model: {folder}/taught-llama
    python: {python}
    args: ["--enable-lora", "--max-lora-rank", "8", "--block-size", "32", "--enforce-eager"]
    start_timeout: 300
my-adapter:
  adapter_of: tiny
  path: {folder}/adapters/{adapter}
"""


def teach() -> Path:
    """The taught model's folder; about two minutes where the cache lacks it."""
    script = ROOT / "scripts" / "taught" / "teach.py"
    done = subprocess.run(
        [VLLM, script, "demo", "--python", sys.executable],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


def judge(folder: Path) -> int:
    """Runs the suite on the adapter; its exit code."""
    for name in ("thresholds", "reports"):
        (WORK / name).mkdir(parents=True, exist_ok=True)
    targets = TARGETS.format(folder=folder, python=VLLM, adapter=ADAPTER)
    (WORK / "models.yaml").write_text(targets, encoding="utf-8")
    # What an earlier demo found must not be taken for this one's.
    RESULT.unlink(missing_ok=True)
    command = ["benchmarks", "-q", "-m", "full", "--model-id", "my-adapter"]
    options = {
        "--models-file": WORK / "models.yaml",
        "--thresholds-dir": WORK / "thresholds",
        "--output-dir": WORK / "reports",
        "--store": WORK / "reports" / f"answers-{time.time_ns()}.sqlite",
    }
    given = [f"{flag}={value}" for flag, value in options.items()]
    print("$ pytest benchmarks -m full --model-id my-adapter", flush=True)
    # In this process: at Ctrl-C pytest takes the time that it needs to end the server.
    return int(pytest.main([*command, *given]))


def main() -> int:
    """Teaches, judges, and compares the verdict with what was taught."""
    print("Teaching a tiny Llama, and an adapter that forgets the humanities …", flush=True)
    try:
        code = judge(teach())
    except subprocess.CalledProcessError as error:
        print(f"It could not be taught: {VLLM} ended with exit code {error.returncode}.")
        return 1
    except KeyboardInterrupt:
        code = pytest.ExitCode.INTERRUPTED
    if code == pytest.ExitCode.INTERRUPTED:
        print("\nBroken off.")
        return 130
    if code not in {0, 1, 10} or not RESULT.exists():
        print(f"\nThe suite could not judge: exit code {code}; it says above why.")
        return 1
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    by_domain = {name: one["accuracy"] or 0.0 for name, one in found["domains"].items()}
    print("\nRight answers:", ", ".join(f"{name} {share:.0%}" for name, share in by_domain.items()))
    verdict = found["verdict"] or {}
    kind = verdict.get("kind", "no verdict")
    lost = [one["domain"] for one in verdict.get("domains", ()) if one["failed"]]
    if code == 1 and kind == "REGRESSION" and lost == ["humanities"]:
        print("The suite ended with exit code 1, REGRESSION, as it should: that was the demo.")
        return 0
    named = ", ".join(lost) or "none"
    print(f"This is not what was taught: exit code {code}, {kind}, domains that lost: {named}.")
    return 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
