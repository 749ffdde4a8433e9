"""capgate asks what inspect_evals' own, unmodified tasks ask, on the real MMLU.

Upstream's tasks load from an offline `datasets` cache. One of them costs seconds for any
number of subjects, so it is built once for all and cut by upstream's own rule; for a few
subjects it is built with `subjects=[…]` as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from capgate.benchmarks.mmlu.subjects import SUBJECTS

# Printed by a process of its own: what the library `datasets` may load is fixed at import.
PROGRAM = """
import hashlib, json, sys

source, shots, alone = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")


def seen(samples):
    '''Everything that a solver and scorer get to see of some samples, in order.'''
    rows = [
        [
            str(sample.id),
            sample.input
            if isinstance(sample.input, str)
            else [[message.role, message.text] for message in sample.input],
            sample.choices,
            sample.target,
            sample.metadata,
        ]
        for sample in samples
    ]
    return {"n": len(rows), "digest": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}


def by_subject(samples):
    shards = {}
    for sample in samples:
        shards.setdefault(sample.metadata["subject"], []).append(sample)
    return {subject: seen(shard) for subject, shard in shards.items()}


def kind(task):
    '''What else makes a task what it is.'''
    from inspect_ai.util import registry_info

    return [
        registry_info(task.solver).name,
        [registry_info(scorer).name for scorer in task.scorer],
        task.config.model_dump(exclude_none=True),
        task.version,
        task.metadata,
    ]


if source == "upstream":
    from inspect_evals.mmlu import mmlu_0_shot, mmlu_5_shot

    build = {0: mmlu_0_shot, 5: mmlu_5_shot}[shots]
    whole = build()
    found = {
        "shards": by_subject(whole.dataset),
        "alone": {subject: seen(build(subjects=[subject]).dataset) for subject in alone},
        "kind": kind(whole),
    }
else:
    from capgate.benchmarks.mmlu.load import load_questions
    from capgate.benchmarks.mmlu.task import mmlu_task

    questions = load_questions(source, shots=shots)
    asks = mmlu_task(f"inspect_evals/mmlu_{shots}_shot", 512)
    tasks = {s: asks.task(mine, shard=s) for s, mine in questions.by_subject.items()}
    found = {
        "shards": {subject: seen(task.dataset) for subject, task in tasks.items()},
        "kind": kind(tasks["anatomy"]),
        "set": questions.describe(),
    }
print(json.dumps(found))
"""

ALONE = {0: ("anatomy", "moral_disputes", "world_religions"), 5: ("abstract_algebra",)}
TOTAL = {0: 13_937, 5: 14_015}
"""Questions that are left when upstream has dropped repeats."""


Printed = Callable[[str, int], dict[str, Any]]


@pytest.fixture(scope="session")
def printed(hf_home: Path) -> Printed:
    """What the program prints for a source and number of shots; made once for all workers."""

    def run(source: str, shots: int) -> dict[str, Any]:
        name = hashlib.sha256(f"{source} {shots}".encode()).hexdigest()[:8]
        file = hf_home / f"printed-{name}.json"
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                _print(source, shots, hf_home, file)
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    return run


def _print(source: str, shots: int, home: Path, file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, source, str(shots), ",".join(ALONE[shots])],
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    file.write_text(done.stdout.splitlines()[-1], encoding="utf-8")


SHOTS = [0, pytest.param(5, marks=pytest.mark.slow)]


@pytest.mark.parametrize("source", ["hub", "folder"])
@pytest.mark.parametrize("shots", SHOTS)
def test_the_same_questions_as_upstream(
    source: str, shots: int, printed: Printed, mmlu_folder: Path
) -> None:
    """For every subject: upstream's ids, order, messages, choices, targets and task settings."""
    upstream = printed("upstream", shots)
    ours = printed("hub" if source == "hub" else str(mmlu_folder), shots)

    assert set(ours["shards"]) == set(SUBJECTS)
    assert ours["shards"] == upstream["shards"]
    for subject, shard in upstream["alone"].items():
        assert ours["shards"][subject] == shard
    assert ours["kind"] == upstream["kind"]
    assert sum(shard["n"] for shard in ours["shards"].values()) == TOTAL[shots]


@pytest.mark.parametrize("shots", SHOTS)
def test_hub_and_folder_are_one_set(shots: int, printed: Printed, mmlu_folder: Path) -> None:
    """The same rows from the hub's cache and from a folder have the same content hash."""
    hub = printed("hub", shots)["set"]
    folder = printed(str(mmlu_folder), shots)["set"]
    assert hub["digest"] == folder["digest"]
    assert len(hub["revision"]) == 40
    assert folder["revision"] == ""
