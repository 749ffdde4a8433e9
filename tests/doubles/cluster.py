"""Stand-ins for the commands of clusters: their jobs are processes of this machine.

`python -m tests.doubles.cluster sbatch …` runs a script's array as Slurm would, `… kubectl …` an
indexed job of Kubernetes, each task with the variables that the cluster sets.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml


def sbatch(arguments: Sequence[str]) -> int:
    """Runs a script as an array, one process for each id; waits, and tells if one failed."""
    script = Path(arguments[-1])
    options = [*re.findall(r"^#SBATCH (\S+)$", script.read_text(), re.M), *arguments[:-1]]
    array = [one.removeprefix("--array=") for one in options if one.startswith("--array=")][-1]
    ids = list(_ids(array.partition("%")[0]))
    print("Submitted batch job 1", flush=True)
    tasks = {
        "COUNT": len(ids),
        "MIN": min(ids),
        "MAX": max(ids),
        "STEP": 1,
    }
    return _run(
        [
            (
                ["bash", str(script)],
                {
                    f"SLURM_ARRAY_TASK_{name}": str(value)
                    for name, value in {**tasks, "ID": one}.items()
                },
                Path(f"slurm-1_{one}.out"),
            )
            for one in ids
        ]
    )


def _ids(array: str) -> Sequence[int]:
    found: list[int] = []
    for part in array.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def kubectl(arguments: Sequence[str]) -> int:
    """Runs an indexed job as it is applied; `wait` finds it ended."""
    if arguments[0] != "apply":
        return 0
    spec = yaml.safe_load(Path(arguments[-1]).read_text())["spec"]
    assert spec["completionMode"] == "Indexed"
    (container,) = spec["template"]["spec"]["containers"]
    print("job.batch/capgate created", flush=True)
    return _run(
        [
            (
                [*container["command"], *container.get("args", ())],
                {"JOB_COMPLETION_INDEX": str(index)},
                Path(f"pod-{index}.log"),
            )
            for index in range(spec["completions"])
        ]
    )


def _run(tasks: Sequence[tuple[list[str], dict[str, str], Path]]) -> int:
    """Runs tasks side by side; 0 if all of them ended so."""
    running = []
    # What this module itself needed to be found.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command, variables, log in tasks:
        with log.open("wb") as out:
            running.append(
                subprocess.Popen(
                    command, env={**own, **variables}, stdout=out, stderr=subprocess.STDOUT
                )
            )
    return max(one.wait() for one in running)


if __name__ == "__main__":
    sys.exit({"sbatch": sbatch, "kubectl": kubectl}[sys.argv[1]](sys.argv[2:]))
