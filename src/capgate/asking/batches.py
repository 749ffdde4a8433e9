"""Batches of questions while they are asked, and the order in which targets are asked them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capgate.asking.ready_target import QuestionBatch, ReadyTarget
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.common.errors import CapgateError


@dataclass
class PendingBatch:
    """A batch of questions while it is asked.

    Attributes:
        batch: The batch.
        claim: The store's name of it and its targets.
        missing: Target's id to the questions that the store lacks.
        not_asked: Target's id to the outcomes of questions that `--max-cost` forbade, by hash.
        logs: Target's id to its log.
        faults: Target's id to the first fault that one of its requests ended with.
    """

    batch: QuestionBatch
    claim: str
    missing: dict[str, list[Question]] = field(default_factory=dict)
    not_asked: dict[str, dict[str, Answer]] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    faults: dict[str, CapgateError] = field(default_factory=dict)

    @property
    def lacking(self) -> int:
        """Questions to be asked, of all targets."""
        return sum(map(len, self.missing.values()))


@dataclass
class Job:
    """What one target is asked of one batch.

    Attributes:
        pending: The batch.
        target: The target.
        recorded: Hashes of the questions whose answers are stored.
    """

    pending: PendingBatch
    target: ReadyTarget
    recorded: set[str] = field(default_factory=set)

    @property
    def questions(self) -> list[Question]:
        """The questions to ask."""
        return self.pending.missing[self.target.id]

    @property
    def not_asked(self) -> dict[str, Answer]:
        """The outcomes of questions that `--max-cost` forbade, by hash."""
        return self.pending.not_asked[self.target.id]


def are_apart(targets: Sequence[ReadyTarget]) -> bool:
    """Whether targets have to be asked one after the other."""
    return any(target.endpoint.apart for target in targets)


def jobs_in_order(batches: Sequence[PendingBatch], targets: Sequence[ReadyTarget]) -> Iterator[Job]:
    """Which target is asked what, in the order of asking.

    Batch by batch, or target by target where they have to be asked one after the other.
    """
    if are_apart(targets):
        return (Job(one, target) for target in targets for one in batches)
    return (Job(one, target) for one in batches for target in targets)


def jobs_at_once(jobs: Collection[Job], targets: int, samples: int) -> int:
    """How many jobs are asked at a time.

    There are enough questions while one job ends, and no more jobs than that, so that one after
    the other ends and has its log written while others are asked.

    Args:
        jobs: All jobs.
        targets: How many targets are asked at a time.
        samples: Most questions of a target in progress.
    """
    mean = sum(len(job.questions) for job in jobs) / len(jobs)
    return targets * (1 + math.ceil(samples / mean))
