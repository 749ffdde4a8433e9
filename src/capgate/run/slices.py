"""Which questions a worker asks: a fixed part of all that the targets of a run are asked.

Each benchmark is a row: the questions of the first target, then those of the next one, in a fixed
order. A worker has the same part of each row. So all parts together are everything, each benchmark
is spread over all workers, and a worker meets few of many adapters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from capgate.asking.fingerprint import digest_of, generation
from capgate.asking.ready_target import QuestionBatch
from capgate.benchmarks.questions import Question
from capgate.config.worker_shard import WorkerShard
from capgate.run.run import Run
from capgate.run.runs import Runs


@dataclass(frozen=True)
class Slice:
    """What one worker asks of one target on one benchmark.

    Attributes:
        target: The target's id.
        run: The benchmark's part in the run.
        questions: The questions, group by group.
    """

    target: str
    run: Run
    questions: tuple[Question, ...]

    @property
    def batches(self) -> list[QuestionBatch]:
        """The questions by group."""
        groups: dict[str, list[Question]] = {}
        for question in self.questions:
            groups.setdefault(question.subject, []).append(question)
        return [QuestionBatch(name, mine) for name, mine in groups.items()]


@dataclass(frozen=True)
class SlicePlan:
    """What one of several workers asks.

    Attributes:
        slices: Its part, target by target.
        total: Questions of all workers, each once for each target.
        id: Hash of what all workers ask and of their number; workers of one job have the same.
    """

    slices: tuple[Slice, ...]
    total: int
    id: str

    @property
    def questions(self) -> int:
        """Questions of this worker."""
        return sum(len(one.questions) for one in self.slices)


def plan_slices(runs: Runs, shard: WorkerShard) -> SlicePlan:
    """The plan of a worker; no server is asked.

    Args:
        runs: The run's part for each benchmark.
        shard: The worker's part.

    Raises:
        CapgateError: The questions can't be loaded, or it is not known what a target is compared
            with.
    """
    slices: list[Slice] = []
    parts = [f"of {shard.count}"]
    total = 0
    for run in runs:
        row = list(_row(run))
        parts += _described(run, row)
        start, stop = shard.bounds(len(row))
        total += len(row)
        mine: dict[str, list[Question]] = {}
        for target, question in row[start:stop]:
            mine.setdefault(target, []).append(question)
        slices += [Slice(target, run, tuple(found)) for target, found in mine.items()]
    order = {target: at for at, target in enumerate(asked_targets(runs))}
    slices.sort(key=lambda one: order[one.target])
    return SlicePlan(tuple(slices), total, digest_of(*parts)[:12])


def asked_targets(runs: Runs) -> Sequence[str]:
    """All targets that are asked on any benchmark: a base before its adapters."""
    return list(dict.fromkeys(target for run in runs for target in _asked(run)))


def _asked(run: Run) -> Sequence[str]:
    """The targets that are asked on a benchmark: a base where an adapter is compared with it."""
    asked: dict[str, None] = {}
    for target in run.targets.values():
        if target.adapter_of is not None and run.references.is_base(target):
            asked[target.adapter_of] = None
        asked[target.id] = None
    return list(asked)


def _row(run: Run) -> Iterator[tuple[str, Question]]:
    for target in _asked(run):
        for batch in run.batches(target):
            for question in batch.questions:
                yield target, question


def _described(run: Run, row: Sequence[tuple[str, Question]]) -> Iterator[str]:
    yield run.name
    for target in _asked(run):
        asked = generation(run.participants[target], run.settings, run.benchmark)
        yield f"{target} {json.dumps(asked, sort_keys=True)}"
    for target, question in row:
        yield f"{target} {question.hash}"
