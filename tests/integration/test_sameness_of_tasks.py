"""Tasks of any kind, asked directly: the logs are those of a plain evaluation of Inspect's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from inspect_ai import eval as evaluate
from inspect_ai import score
from inspect_ai.log import (
    EvalLog,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples,
)
from inspect_ai.model import get_model
from tests.doubles.server import Server
from tests.integration.test_sameness import differences
from tests.unit.asking.asked import ask, client_of, runner_of
from tests.unit.asking.tasks import ALL, OwnTask, word_problems
from tests.unit.asking.test_free_text import answers
from tests.unit.client.conftest import KEY

from capgate.asking.inspect_backend.provider import capgate_api
from capgate.asking.outcome import QuestionTask

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

_OF_THE_RUN: Final = (
    *("eval.metadata", "eval.task", "eval.task_display_name", "eval.model_args"),
    *("eval.config", "eval.revision", "plan.config", "metadata"),
)
"""Fields that say who had it run and how, and not what was asked and answered."""


def plainly(made: OwnTask, server: Server, folder: Path) -> EvalLog:
    """The log of a plain evaluation, by Inspect alone."""
    assert capgate_api
    model = get_model(
        "capgate/lora-a", base_url=server.url, api_key=KEY, target="mine", memoize=False
    )
    task = made.task(made.questions, shard="all")
    (log,) = evaluate(task, model=model, log_dir=str(folder), display="none", log_format="json")
    assert log.status == "success"
    return read_eval_log(log.location, resolve_attachments=True)


def directly(made: OwnTask, server: Server, folder: Path) -> EvalLog:
    """The log of the direct runner."""
    task = QuestionTask("all", made.questions, client_of(server), target="mine", look="first")
    ask(runner_of("direct", folder, made), task)
    (path,) = folder.iterdir()
    return read_eval_log(str(path))


@pytest.mark.parametrize("make", ALL)
def test_the_log_of_each_kind_is_inspects(make: Callable[[], OwnTask], tmp_path: Path) -> None:
    """Plan, scorers, metrics, results, samples and events are equal, field by field."""
    with Server(key=KEY, answer=answers, models=("lora-a",)) as server:
        theirs = plainly(make(), server, tmp_path / "plain")
        ours = directly(make(), server, tmp_path / "direct")
    found = {
        field: told
        for field, told in differences(theirs, ours).items()
        if not any(field == one or field.startswith(f"{one}.") for one in _OF_THE_RUN)
    }
    assert found == {}


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
