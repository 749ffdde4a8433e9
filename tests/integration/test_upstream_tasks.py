"""Each shipped benchmark asks and scores as inspect_evals' own, unmodified task does.

The tasks load from one offline cache of the hub, with invented questions in the hub's form. What
invented questions can't stand for is skipped with the reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tests.doubles.hub_cache import LANGUAGES, MISSING

from capgate.config.benchmarks_file import load_benchmarks

# Printed by a process of its own: what the library `datasets` may load is fixed at import.
PROGRAM = """
import json, sys
from pathlib import Path

from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Target
from inspect_ai.util import registry_create

from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.without_model import no_model, sent_by, unasked
from capgate.common.event_loop import in_own_loop
from capgate.config.benchmarks_file import load_benchmarks


def answers(sample):
    '''What a model may answer: the key in several forms, another letter, prose, nothing.

    IFEval's invented questions ask for so many words without a comma.
    '''
    key = sample.target if isinstance(sample.target, str) else sample.target[0]
    forms = [f"ANSWER: {key}", key, f"Well.\\n{key}.", "ANSWER: A", "No", "-1", "I can not say."]
    return [*forms, "", "stone " * 40, "stone, " * 40]


def scored(task, samples, read):
    '''What a task's own solver and scorers make of answers, sample by sample.'''
    found = {}

    async def run():
        with no_model():
            for sample in samples:
                found[str(sample.id)] = [await of(sample, text) for text in answers(sample)]

    async def of(sample, text):
        async def generate(state, *_, **__):
            state.output = ModelOutput.from_content("none/none", text)
            return state

        state = await task.solver(unasked(sample), generate)
        (scorer,) = task.scorer
        return read({"scorer": await scorer(state, Target(sample.target))}, state.output)

    in_own_loop(run)
    return found


def seen(task):
    return {
        str(sample.id): [
            sent_by(task.solver, sample)[0],
            sample.choices,
            sample.target,
            repr(sample.metadata),
        ]
        for sample in task.dataset
    }


def value(scores, output):
    (score,) = scores.values()
    found = score.value["prompt_level_strict"] if isinstance(score.value, dict) else score.value
    return "correct" if found in ("C", True) else "not"


def ours(benchmark):
    def read(scores, output):
        state = benchmark.read(scores, output).state.value
        return "correct" if state == "correct" else "not"

    return read


known = load_benchmarks(Path("/nowhere"))
found = {}
for name in sys.argv[1].split(","):
    entry = known.entry_of(name)
    try:
        made = make_benchmark(name, entry, task=entry.task, max_tokens=512, root=Path("/nowhere"))
        questions = made.load("hub").questions
        mine = made.task(questions, shard="all")
        upstream = registry_create("task", entry.task, **entry.args)
        found[name] = {
            "ours": seen(mine),
            "upstreams": seen(upstream),
            "our order": [str(sample.id) for sample in mine.dataset],
            "upstreams order": [str(sample.id) for sample in upstream.dataset],
            "our scores": scored(mine, mine.dataset, ours(made)),
            "upstreams scores": scored(upstream, upstream.dataset, value),
            "shuffled": "shuffle" in repr(entry.args) or upstream.dataset.shuffled,
            "groups": list(made.groups),
            "of groups": sorted({question.subject for question in questions}),
        }
    except Exception as error:
        found[name] = {"failed": f"{type(error).__name__}: {error}"}
print(json.dumps(found))
"""

TRANSLATED = tuple(f"mmmlu_{language.partition('_')[0].lower()}" for language in LANGUAGES)

SKIPPED = {
    **MISSING,
    **(
        {}
        if find_spec("instruction_following_eval")
        else {"ifeval": "needs the package instruction_following_eval, which no index has"}
    ),
}


@cache
def shipped() -> tuple[str, ...]:
    """The shipped benchmarks, of MMLU's translations those that the cache has."""
    names = load_benchmarks(Path("/nowhere")).entries
    return tuple(name for name in names if not name.startswith("mmmlu_") or name in TRANSLATED)


@pytest.fixture(scope="session")
def printed(hub_home: Path) -> dict[str, Any]:
    """What the program prints of all benchmarks; made once for all workers."""
    file = hub_home / "printed.json"
    names = ",".join(name for name in shipped() if name not in SKIPPED)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, names],
                env={**os.environ, "HF_HOME": str(hub_home), "HF_HUB_OFFLINE": "1"},
                cwd=hub_home,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            file.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_benchmark_asks_and_scores_as_upstreams_task(
    name: str, printed: dict[str, Any]
) -> None:
    """The same ids, prompts, choices, targets and metadata; the same answers are right."""
    if name in SKIPPED:
        pytest.skip(SKIPPED[name])
    found = printed[name]
    if "other questions each time" in found.get("failed", ""):
        pytest.skip("upstream's task of this version shuffles choices without a seed: refused")
    assert "failed" not in found, found["failed"]

    assert found["ours"] == found["upstreams"]
    assert found["our scores"] == found["upstreams scores"]
    rights = [verdicts for verdicts in found["our scores"].values() if "correct" in verdicts]
    assert len(rights) == len(found["ours"]) >= 8
    assert all("not" in verdicts for verdicts in found["our scores"].values())
    if not found["shuffled"]:
        assert found["our order"] == found["upstreams order"]
    assert set(found["of groups"]) <= set(found["groups"] or [name])
