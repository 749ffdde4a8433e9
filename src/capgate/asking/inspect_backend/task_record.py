"""What logs record of a task: its solvers, its scorers and their metrics, as Inspect tells them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import inspect_ai
from inspect_ai import Task
from inspect_ai.log import EvalPlanStep, EvalSpec
from inspect_ai.scorer import Scorer
from inspect_ai.util import registry_info

from capgate.asking.inspect_backend.one_evaluation import one_evaluation
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.without_model import no_model
from capgate.common.event_loop import in_own_loop


class RecordedScorer(Protocol):
    """What a log says of a scorer."""

    name: str
    options: dict[str, Any] | None
    metrics: Any


@dataclass(frozen=True)
class TaskRecord:
    """What all logs of a task say of it.

    Attributes:
        steps: Its solvers.
        scorers: Its scorers with their arguments and metrics.
        metrics: What it sums its scores up by in place of its scorers' own metrics, if anything.
    """

    steps: Sequence[EvalPlanStep]
    scorers: Sequence[RecordedScorer]
    metrics: Any = None


def record_of(benchmark: Benchmark) -> TaskRecord:
    """What logs record of a benchmark's tasks: all have the same solvers and scorers.

    Args:
        benchmark: What they ask.
    """
    if benchmark.steps is not None:
        task = benchmark.direct_task([benchmark.probe], shard="record")
        return TaskRecord(
            steps=[
                EvalPlanStep(solver=name, params=dict(arguments), params_passed=dict(passed))
                for name, arguments, passed in benchmark.steps.solvers
            ],
            scorers=_described(task.scorer or [], benchmark.steps.scorers),
        )
    task = benchmark.task([benchmark.probe], shard="record")
    with no_model():
        return in_own_loop(lambda: _told_by_inspect(task))


async def _told_by_inspect(task: Task) -> TaskRecord:
    """What Inspect records of a task.

    A registered solver keeps its arguments in attributes that are not public. A log of a task
    whose samples are not run has them.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with one_evaluation():
            (log,) = await inspect_ai.eval_async(
                task,
                model="none/none",
                log_dir=folder,
                log_format="json",
                run_samples=False,
                log_realtime=False,
                score_display=False,
                ctl_server=False,
            )
    return TaskRecord(log.plan.steps, log.eval.scorers or [], log.eval.metrics)


def _described(
    scorers: Sequence[Scorer], arguments: Sequence[Mapping[str, Any]]
) -> Sequence[RecordedScorer]:
    described = [
        {
            "name": registry_info(one).name.rpartition("/")[2],
            "options": dict(options),
            "metrics": [
                {"name": registry_info(metric).name, "options": {}}
                for metric in registry_info(one).metadata["metrics"]
            ],
            "metadata": {},
        }
        for one, options in zip(scorers, arguments, strict=True)
    ]
    # The class of what a log says of a scorer is not public; that of the log is.
    spec = EvalSpec.model_validate(
        {
            "created": datetime.now(UTC).isoformat(),
            **{"task": "", "dataset": {}, "model": "", "config": {}},
            "scorers": described,
        }
    )
    return spec.scorers or []
