"""How long a worker takes to build every shard of MMLU, without the imports.

    python perf/shards.py                 # questions from ../shared/data/mmlu
    python perf/shards.py --mmlu DIR

Each row is a fresh process: the questions are read and hashed, and the Inspect task of each of
the 57 subjects is built. CPU seconds after everything is imported.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_BUILD = """
import sys, time
import inspect_evals.mmlu
from capgate.asking import evaluator
from capgate.asking.inspect_backend import direct_runner
from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.task import mmlu_task
source, task = sys.argv[1:]
bench = mmlu_task(task, 512)
bench.prompt_hash  # renders a probe, which imports the rest of Inspect
started = time.process_time()
chosen = load_questions(source, shots=bench.shots).select()
tasks = [bench.task(rows, shard=subject) for subject, rows in chosen.by_subject.items()]
print(f"{sum(len(task.dataset) for task in tasks):,} {time.process_time() - started:.2f}")
"""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mmlu", type=Path, default=ROOT.parent / "shared" / "data" / "mmlu")
    mmlu = parser.parse_args().mmlu
    print("| task | questions | CPU, s |\n|---|---|---|")
    for task in ("inspect_evals/mmlu_0_shot", "inspect_evals/mmlu_5_shot"):
        run = subprocess.run(
            [sys.executable, "-c", _BUILD, str(mmlu), task],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            raise SystemExit(run.stderr.strip())
        print(f"| {task} | {' | '.join(run.stdout.split()[-2:])} |", flush=True)


if __name__ == "__main__":
    main()
