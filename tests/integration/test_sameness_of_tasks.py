"""Tasks of any kind, asked directly: the logs are those of a plain evaluation of Inspect's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from inspect_ai import score
from inspect_ai.log import (
    EvalLog,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples,
)
from tests.doubles.server import Server
from tests.integration.asked_plainly import directly, of_the_questions, plainly
from tests.integration.test_sameness import differences
from tests.integration.test_upstream_tasks import SKIPPED, shipped
from tests.unit.asking.tasks import ALL, OwnTask, word_problems
from tests.unit.asking.test_free_text import answers
from tests.unit.client.conftest import KEY

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("make", ALL)
def test_the_log_of_each_kind_is_inspects(make: Callable[[], OwnTask], tmp_path: Path) -> None:
    """Plan, scorers, metrics, results, samples and events are equal, field by field."""
    with Server(key=KEY, answer=answers, models=("lora-a",)) as server:
        task = make().task(make().questions, shard="all")
        theirs = plainly(task, server, tmp_path / "plain")
        ours = directly(make(), server, tmp_path / "direct")
    assert of_the_questions(differences(theirs, ours)) == {}


@pytest.mark.parametrize("make", ALL)
def test_inspect_reads_and_scores_the_log_of_each_kind(
    make: Callable[[], OwnTask], tmp_path: Path
) -> None:
    """Its readers hand out header, summaries and samples; its scorers score it again alike."""
    made = make()
    with Server(key=KEY, answer=answers, models=("lora-a",)) as server:
        ours = directly(made, server, tmp_path)
    (info,) = list_eval_logs(str(tmp_path))
    header = read_eval_log(info, header_only=True)
    assert header.results == ours.results
    assert len(read_eval_log_sample_summaries(info)) == len(made.samples)
    samples = list(read_eval_log_samples(info, all_samples_required=True))
    assert {one.id for one in samples} == {one.id for one in made.samples}
    scorers = made.task(made.questions, shard="again").scorer
    assert scorers is not None
    if not (made.letters or made.name == "hard-ones"):
        # Which choice was marked is not in a log, so `choice` can't score one again.
        again = score(ours, scorers, action="overwrite", display="none")
        assert scores_of(again) == scores_of(ours)


def scores_of(log: EvalLog) -> dict[str, str]:
    """The values of each sample."""
    return {
        str(one.id): json.dumps({name: it.value for name, it in (one.scores or {}).items()})
        for one in log.samples or []
    }


def test_the_command_scores_free_text_again(tmp_path: Path) -> None:
    """`inspect score` makes the scorer of the log again, with its arguments."""
    made = word_problems()
    with Server(key=KEY, answer=answers, models=("lora-a",)) as server:
        ours = directly(made, server, tmp_path)
    (path,) = tmp_path.iterdir()
    target = tmp_path / "again.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "inspect_ai", "score", str(path)),
            *("--action", "overwrite", "--output-file", str(target)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    again = read_eval_log(str(target))
    assert scores_of(again) == scores_of(ours)
    assert again.results is not None
    assert ours.results is not None
    assert again.results.scores[0].metrics == ours.results.scores[0].metrics


REPOSITORY = Path(__file__).parents[2]
ASKED = [name for name in shipped() if name not in SKIPPED and name not in ("mmlu", "mmlu_5_shot")]
"""MMLU has tests of its own (`test_sameness`)."""


@pytest.fixture(scope="session")
def compared(hub_home: Path) -> dict[str, Any]:
    """What differs between the direct runner and plain evaluations; made once for all workers."""
    file = hub_home / "compared.json"
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.integration.asked_plainly"),
                    *(",".join(ASKED), str(hub_home / "compared-logs")),
                ],
                env={**os.environ, "HF_HOME": str(hub_home), "HF_HUB_OFFLINE": "1"},
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            file.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKED)
def test_a_shipped_benchmark_is_asked_as_upstreams_task(
    name: str, compared: dict[str, Any]
) -> None:
    """The direct runner can ask it; it sends and logs what an evaluation of upstream's does."""
    found = compared[name]
    assert found["why not"] == ""
    assert found["questions"] >= 8
    assert found["sent alike"]
    assert found["differences"] == {}
