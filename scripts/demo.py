"""Red verdicts from nothing but this repository: `make demo`.

A tiny Llama is taught two benchmarks: the questions in MMLU's form that capgate ships, and sums of
the demo's own. Of its two adapters one forgets the sums and keeps all else, the other forgets the
humanities. Real vLLM (its CPU build, in .venv-vllm), which the suite starts by itself, serves them.
One verdict over both benchmarks says of each adapter what it lost. Everything that the demo makes
goes into .cache/demo.

Exit codes: 0 the losses were found and named, 1 they were not, 130 broken off with Ctrl-C.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
# Its own folder is where Python looks; `scripts` is beside it.
sys.path.insert(0, str(ROOT))

from scripts.taught import sums  # noqa: E402

from capgate.cli import main as capgate  # noqa: E402
from capgate.common.errors import CapgateError  # noqa: E402
from capgate.report.data.read import read_report  # noqa: E402
from capgate.report.data.result import Report  # noqa: E402

VLLM: Final = ROOT / ".venv-vllm" / "bin" / "python"
WORK: Final = ROOT / ".cache" / "demo"
LOSSES: Final = {
    "lost-sums": (sums.NAME, list[str]()),
    "lost-humanities": ("mmlu", ["humanities"]),
}
"""Adapter to the benchmark that it lost, and the parents of groups that it lost there."""

MODELS: Final = """\
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
lost-sums: {{adapter_of: tiny, path: {folder}/adapters/forgets_arithmetic}}
lost-humanities: {{adapter_of: tiny, path: {folder}/adapters/forgets_humanities}}
"""
BENCHMARKS: Final = f"{sums.NAME}: {{questions: {sums.NAME}.jsonl, catch: 0.05}}\n"


def teach() -> Path:
    """The taught model's folder; some minutes where the cache lacks it."""
    script = ROOT / "scripts" / "taught" / "teach.py"
    done = subprocess.run(
        [VLLM, script, "demo", "--python", sys.executable],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


def write_project(folder: Path) -> None:
    """Writes a project: its targets, and its own benchmark in one line and a file of questions.

    Args:
        folder: The taught model's.
    """
    (WORK / "config").mkdir(parents=True, exist_ok=True)
    models = MODELS.format(folder=folder, python=VLLM)
    (WORK / "config" / "models.yaml").write_text(models, encoding="utf-8")
    (WORK / "config" / "benchmarks.yaml").write_text(BENCHMARKS, encoding="utf-8")
    sums.write(WORK / f"{sums.NAME}.jsonl")
    # So that pytest takes this folder for the project, and not the checkout that it lies in.
    (WORK / "pytest.ini").write_text("[pytest]\naddopts = -q\n", encoding="utf-8")


def judge() -> int:
    """Runs the suite on both adapters, in the project's folder; its exit code."""
    chosen = [f"--model-id={name}" for name in LOSSES]
    chosen += [f"--benchmark={name}" for name in ("mmlu", sums.NAME)]
    print(f"$ capgate run {' '.join(chosen)}", flush=True)
    os.chdir(WORK)
    # A store of its own: what an earlier demo asked must not be taken for this one's answers, nor
    # this one for a further try on the same adapters.
    store = f"--store=reports/answers-{time.time_ns()}.sqlite"
    # In this process: at Ctrl-C pytest takes the time that it needs to end the server.
    return capgate(["run", *chosen, store])


def newest_report() -> str:
    """Name of the newest run's folder in the project; `""` where there is none."""
    runs = [path.parent.name for path in (WORK / "reports").glob("*/report.json")]
    return max(runs, default="")


def unlike(report: Report) -> Iterator[str]:
    """What is not as it was taught: a sentence for each adapter. Prints what was found."""
    for adapter, (benchmark, parents) in LOSSES.items():
        suite = report.suites.get(adapter, {})
        parts = {one["name"]: one for one in suite.get("benchmarks", ())}
        kinds = {name: one["kind"] for name, one in parts.items()}
        said = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        print(f"{adapter}: {suite.get('kind', 'no verdict')}; {said}")
        red = [name for name, kind in kinds.items() if kind == "REGRESSION"]
        lost = parts.get(benchmark, {}).get("lost_parents", [])
        if (suite.get("kind"), red, lost) != ("REGRESSION", [benchmark], parents):
            yield f"{adapter} was to lose {', '.join([benchmark, *parents])} and nothing else"


def main() -> int:
    """Teaches, judges, and compares the verdicts with what was taught."""
    told = "Teaching a tiny Llama, an adapter that forgets sums, and one that forgets humanities …"
    print(told, flush=True)
    before = newest_report()
    try:
        write_project(teach())
        code = judge()
    except subprocess.CalledProcessError as error:
        print(f"It could not be taught: {VLLM} ended with exit code {error.returncode}.")
        return 1
    except KeyboardInterrupt:
        code = pytest.ExitCode.INTERRUPTED
    if code == pytest.ExitCode.INTERRUPTED:
        print("\nBroken off.")
        return 130
    try:
        run = newest_report()
        if code not in {0, 1, 10} or run == before:
            print(f"\nThe suite could not judge: exit code {code}; it says above why.")
            return 1
        print()
        faults = list(unlike(read_report(WORK / "reports" / run / "report.json")))
    except CapgateError as error:
        print(error)
        return 1
    if code == 1 and not faults:
        print("The suite ended with exit code 1, REGRESSION, as it should: that was the demo.")
        return 0
    print(f"This is not what was taught: exit code {code}. {'. '.join(faults)}.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
