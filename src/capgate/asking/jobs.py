"""What an evaluation asks: shards, split by target into Inspect's tasks, and their order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from capgate.asking.ready_target import QuestionBatch, ReadyTarget
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer


@dataclass
class Part:
    """A batch of questions while it is asked.

    Attributes:
        shard: The shard.
        claim: The store's name of it and its targets.
        missing: Target's id to the questions that the store lacks.
        not_put: Target's id to its questions that `--max-cost` kept from being put, by hash.
        logs: Target's id to its log.
    """

    shard: QuestionBatch
    claim: str
    missing: dict[str, list[Question]] = field(default_factory=dict)
    not_put: dict[str, dict[str, Answer]] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)

    @property
    def lacking(self) -> int:
        """Questions to be asked, of all targets."""
        return sum(map(len, self.missing.values()))


@dataclass
class Job:
    """A target's part of a shard, while it is asked: one of Inspect's tasks.

    Attributes:
        part: The shard.
        ready_target: Who is asked.
        recorded: Hashes of the questions whose answers are stored.
    """

    part: Part
    ready_target: ReadyTarget
    recorded: set[str] = field(default_factory=set)

    @property
    def questions(self) -> list[Question]:
        """What is asked."""
        return self.part.missing[self.ready_target.id]

    @property
    def not_put(self) -> dict[str, Answer]:
        """What was not put, by hash."""
        return self.part.not_put[self.ready_target.id]

    @cached_property
    def by_sample(self) -> dict[str, Question]:
        """Inspect's id of a sample to its question."""
        return {str(question.sample.id): question for question in self.questions}


def claim_of(shard: QuestionBatch, ready_targets: Sequence[ReadyTarget]) -> str:
    """What stands for the right to ask a shard: a hash of what is asked of whom."""
    asked = "".join(
        [*(c.context.fingerprint for c in ready_targets), *(q.hash for q in shard.questions)]
    )
    return hashlib.sha256(asked.encode()).hexdigest()[:24]


def claims_of(shard: QuestionBatch, ready_targets: Sequence[ReadyTarget]) -> list[str]:
    """What stands for the right to ask a shard of each target, in one order for all.

    Runs that judge other adapters of one base then do not ask that twice.
    """
    return sorted({claim_of(shard, [one]) for one in ready_targets})


def are_apart(ready_targets: Sequence[ReadyTarget]) -> bool:
    """Whether targets have to be asked one after the other."""
    return any(ready_target.endpoint.apart for ready_target in ready_targets)


def in_order(
    parts: Sequence[Part], ready_targets: Sequence[ReadyTarget]
) -> Iterator[tuple[Part, ReadyTarget]]:
    """Who is asked what, in the order of asking: shard by shard, if models need not be apart."""
    if are_apart(ready_targets):
        return ((part, one) for one in ready_targets for part in parts)
    return ((part, one) for part in parts for one in ready_targets)


def at_once(jobs: Collection[Job], sides: int, samples: int) -> int:
    """How many tasks run at a time: so many that their samples are enough while one of them ends.

    No more, so that one after the other ends and has its log written while others are asked.
    """
    mean = sum(len(job.questions) for job in jobs) / len(jobs)
    return sides * (1 + math.ceil(samples / mean))
