"""Batches of questions while they are asked."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from capgate.asking.ready_target import QuestionBatch, ReadyTarget
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.common.errors import CapgateError
from capgate.store.shard import Look


@dataclass(eq=False)
class PendingBatch:
    """A batch of questions that targets are asked together.

    Attributes:
        batch: The batch.
        targets: The targets.
        claim: The store's name of both.
        look: Why they are asked.
        fresh: Whether answers of earlier runs do not count.
        wanted: Whether a caller waits for it. Where none does, a request that fails is no
            answer: the question is asked again when a caller comes.
        missing: Target's id to the questions that have no answer yet.
        asked: Target's id to how many questions this process has asked for it.
        not_asked: Target's id to the outcomes of questions that `--max-cost` forbade, by hash.
        faults: Target's id to the first fault that one of its requests ended with.
        fault: What ended the asking before its end; None where nothing did.
        seconds: Its part of the wall time of asking (`shared_time`).
        finding: Held while its answers are looked for.
        ended: Set when it is asked no more.
        news: Answers that no caller has been told of: target's id, answer, and whether it was
            asked for just now. A batch that another process comes to first has its caller there.
    """

    batch: QuestionBatch
    targets: Sequence[ReadyTarget]
    claim: str
    look: Look
    fresh: bool = False
    wanted: bool = False
    missing: dict[str, list[Question]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    not_asked: dict[str, dict[str, Answer]] = field(default_factory=dict)
    faults: dict[str, CapgateError] = field(default_factory=dict)
    fault: BaseException | None = None
    seconds: float = 0.0
    finding: threading.Lock = field(default_factory=threading.Lock)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    news: deque[tuple[str, Answer, bool]] = field(default_factory=deque)

    @property
    def targets_lacking(self) -> list[ReadyTarget]:
        """The targets that have to be asked, as far as that was looked for."""
        return [one for one in self.targets if self.missing[one.id]]

    @property
    def lacking(self) -> int:
        """Questions without an answer, of all targets."""
        return sum(map(len, self.missing.values()))


def are_apart(targets: Sequence[ReadyTarget]) -> bool:
    """Whether targets have to be asked one after the other."""
    return any(target.endpoint.apart for target in targets)
