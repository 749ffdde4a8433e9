"""A sweep over twenty real adapters, from nothing but this repository: `make sweep-demo`.

A tiny Llama is taught sums and the questions in MMLU's form that capgate ships. Of its four
training runs, five checkpoints each, two keep all, one loses the sums at its third checkpoint and
one the humanities at its last. Real vLLM (its CPU build, in .venv-vllm), which capgate starts by
itself, serves them. The sweep must name the four checkpoints that lost, and no other. Everything
that the demo makes goes into .cache/sweep-demo.

Exit codes: 0 those that lost were named, 1 they were not, 130 broken off with Ctrl-C.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
# Its own folder is where Python looks; `scripts` is beside it.
sys.path.insert(0, str(ROOT))

from scripts.taught import sums  # noqa: E402
from scripts.taught.checkpoints import STEPS, TRAININGS, lost  # noqa: E402

from capgate.cli import main as capgate  # noqa: E402

VLLM: Final = ROOT / ".venv-vllm" / "bin" / "python"
WORK: Final = ROOT / ".cache" / "sweep-demo"
NAMES: Final = {
    f"runs/{training.name}/checkpoint-{step}": lost(training, step)
    for training in TRAININGS
    for step in STEPS
}
"""Adapter to whether it has lost something."""

MODELS: Final = """\
tiny:
  model_name: openai/taught-llama
  provider: vllm
  context_window: 2048
  dataset: bundled
  max_connections: 32
  max_adapters: 4
  serve:
    engine: vllm
    model: {folder}/taught-llama
    python: {python}
    args: ["--enable-lora", "--max-lora-rank", "8", "--max-loras", "1", "--max-cpu-loras", "8",
           "--block-size", "32", "--enforce-eager"]
    start_timeout: 300
"""
BENCHMARKS: Final = f"""\
{sums.NAME}: {{questions: {sums.NAME}.jsonl, catch: 0.1}}
suites: {{both: {{benchmarks: [{sums.NAME}, mmlu]}}}}
"""
POLICY: Final = """\
benchmarks:
  mmlu: {catch: 0.1, reason: the 228 questions that capgate ships show no smaller loss}
"""


def teach() -> Path:
    """The folder of the base and its checkpoints; some minutes where the cache lacks it."""
    script = ROOT / "scripts" / "taught" / "checkpoints.py"
    done = subprocess.run(
        [VLLM, script, "--python", sys.executable], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.strip())


def write_project(folder: Path) -> None:
    """Writes a project: its target, policy, a file of questions, and the training runs.

    Args:
        folder: The base's and its checkpoints'.
    """
    for name in ("config", "thresholds"):
        (WORK / name).mkdir(parents=True, exist_ok=True)
    models = MODELS.format(folder=folder, python=VLLM)
    (WORK / "config" / "models.yaml").write_text(models, encoding="utf-8")
    (WORK / "config" / "benchmarks.yaml").write_text(BENCHMARKS, encoding="utf-8")
    (WORK / "thresholds" / "policy.yaml").write_text(POLICY, encoding="utf-8")
    sums.write(WORK / f"{sums.NAME}.jsonl")
    (WORK / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    runs = WORK / "runs"
    runs.unlink(missing_ok=True)
    runs.symlink_to(folder / "runs")


def sweep() -> int:
    """Sweeps in the project's folder; its exit code."""
    asked = ["--model-id", "tiny", "--adapters", "runs/*/checkpoint-*", "--suite", "both"]
    print(f"$ capgate sweep {' '.join(asked)}", flush=True)
    os.chdir(WORK)
    # A store of its own: what an earlier demo asked must not be taken for this one's answers.
    return capgate(["sweep", *asked, f"--store=reports/answers-{time.time_ns()}.sqlite"])


def newest() -> Path | None:
    """The newest sweep's result."""
    return max(WORK.glob("reports/*/sweep.json"), default=None)


def unlike(result: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was taught: a sentence for each adapter or training run."""
    said = {row["adapter"]: row["kind"] for row in result["rows"]}
    for name, harmed in NAMES.items():
        if (said.get(name) == "REGRESSION") != harmed:
            was = "lost something" if harmed else "lost nothing"
            yield f"{name} {was}, and the sweep says {said.get(name, 'nothing')}"
    first = {one["name"]: one["first_lost"] for one in result["trainings"]}
    for training in TRAININGS:
        at = first.get(f"runs/{training.name}")
        if (at or "").rpartition("-")[2] != (str(training.lost_at) if training.group else ""):
            yield f"{training.name} is said to have lost first at {at or 'no checkpoint'}"


def main() -> int:
    """Teaches, sweeps, and compares what is named with what was taught."""
    print("Teaching a tiny Llama, and twenty adapters of which four lose something …", flush=True)
    before = newest()
    try:
        write_project(teach())
        began = time.monotonic()
        code = sweep()
    except subprocess.CalledProcessError as error:
        print(f"It could not be taught: {VLLM} ended with exit code {error.returncode}.")
        return 1
    except KeyboardInterrupt:
        print("\nBroken off.")
        return 130
    found = newest()
    if code not in {0, 1, 10} or found is None or found == before:
        print(f"\nThe sweep could not judge: exit code {code}; it says above why.")
        return 130 if code == 130 else 1
    faults = list(unlike(json.loads(found.read_text(encoding="utf-8"))))
    seconds = time.monotonic() - began
    if code == 1 and not faults:
        print(f"\nThe four that lost were named, and no other, in {seconds:.0f} s: exit code 1.")
        return 0
    print(f"\nThis is not what was taught: exit code {code}. {'. '.join(faults)}.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
