"""Batches put to their targets; each answer is stored as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from capgate.asking.batches import PendingBatch, are_apart
from capgate.asking.cost_limit import NotAskedError
from capgate.asking.outcome import Outcome, QuestionTask, error_answer
from capgate.asking.ready_target import ReadyTarget
from capgate.asking.runner import Runner
from capgate.asking.shared_time import SharedTime
from capgate.asking.stored_answers import StoredAnswers
from capgate.benchmarks.questions import Question
from capgate.client.faults import CONNECTION_KINDS, FINAL_KINDS, TRANSIENT_KINDS
from capgate.common.answers import Answer
from capgate.common.errors import CapgateError, RequestFault
from capgate.serving.lost import UnreachableTargets
from capgate.store.answer_rows import NewAnswer

_MOMENT: Final = 0.01
"""Seconds between two times that answers are written."""

_OF_A_SERVER: Final = CONNECTION_KINDS | TRANSIENT_KINDS | FINAL_KINDS
"""Faults that say nothing of the question: another moment or key may have an answer."""


@dataclass(eq=False)
class _Job:
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
    def left(self) -> list[Question]:
        """The questions that have no outcome."""
        ended = self.recorded | self.pending.not_asked[self.target.id].keys()
        return [q for q in self.pending.missing[self.target.id] if q.hash not in ended]


@dataclass(frozen=True)
class BatchAsker:
    """Asks targets what the store lacks.

    Attributes:
        runner: Asks.
        answers: Where answers are kept.
        unreachable: Is told which targets could not be reached.
        unreachable_ahead: The same, of batches that no caller waits for.
        time: Divides the time of asking among the batches.
        check_server: Raises where a target's server has ended.
    """

    runner: Runner
    answers: StoredAnswers
    unreachable: UnreachableTargets
    check_server: Callable[[ReadyTarget], None]
    unreachable_ahead: UnreachableTargets = field(default_factory=UnreachableTargets)
    time: SharedTime = field(default_factory=SharedTime)

    def is_out_of_reach(self, batch: PendingBatch) -> bool:
        """Whether one of a batch's targets could not be reached by the latest requests."""
        both = (self.unreachable, self.unreachable_ahead)
        return any(one.fault(target.id) for one in both for target in batch.targets)

    def find(self, batch: PendingBatch) -> None:
        """Finds what a batch need not ask for."""
        found_by_target = self.answers.find(batch, again=True) or {}
        for target, found in found_by_target.items():
            for one in found.values():
                batch.news.append((target, one.answer, False))

    async def ask(
        self,
        batches: Sequence[PendingBatch],
        targets: Sequence[ReadyTarget],
        room: Callable[[], None],
    ) -> None:
        """Asks the questions of batches that have no answer.

        Args:
            batches: The batches; what has an answer is missing no more.
            targets: Their targets, as they may be asked now.
            room: Called when the servers have room for other batches.

        Raises:
            StoreError: An answer can't be kept.
            FileError: A log can't be written.
            ServerEndedError: A server ended on the way.
        """
        asked = {_task_of(job): job for job in self._jobs(batches, targets)}
        if not asked:
            return
        apart = are_apart(targets)
        waited_for = [job for job in asked.values() if job.pending.wanted]
        kept = _Kept(self.answers)

        def take(task: QuestionTask, outcome: Outcome) -> None:
            job, fault = asked[task], outcome.fault
            self._take(job, outcome, kept)
            if isinstance(fault, RequestFault) and fault.kind in CONNECTION_KINDS and apart:
                # Otherwise each target whose turn comes would wait for the server anew.
                self.check_server(job.target)

        try:
            with kept, self.time.of(batches):
                await self.runner.ask(list(asked), take, room)
                for job in waited_for:
                    self._keep_rest(job, kept)
        finally:
            for job in asked.values():
                job.pending.missing[job.target.id] = job.left

    def _jobs(self, batches: Sequence[PendingBatch], targets: Sequence[ReadyTarget]) -> list[_Job]:
        """Which target is asked what, in order; notes what may cost too much to be asked.

        Batch by batch, or target by target where they have to be asked one after the other.
        """
        if are_apart(targets):
            jobs = [_Job(batch, target) for target in targets for batch in batches]
        else:
            jobs = [_Job(batch, target) for batch in batches for target in targets]
        asked = []
        for job in jobs:
            pending, cost = job.pending, job.target.client.cost
            questions = pending.missing[job.target.id]
            if not questions:
                continue
            if cost is not None and cost.over:
                refusal = str(cost.refusal())
                pending.not_asked[job.target.id] = {
                    one.hash: error_answer(one, refusal) for one in questions
                }
                pending.missing[job.target.id] = []
                continue
            asked.append(job)
        return asked

    def _take(self, job: _Job, outcome: Outcome, kept: _Kept) -> None:
        """Takes the outcome of one question."""
        answer, fault, pending = outcome.answer, outcome.fault, job.pending
        if fault is not None:
            pending.faults.setdefault(job.target.id, fault)
        # What nobody waits for tells nothing of the batch that a caller waits for.
        reached = self.unreachable if pending.wanted else self.unreachable_ahead
        if isinstance(fault, RequestFault):
            reached.failed(job.target.id, fault, given_up=job.target.client.given_up)
        elif answer.state.scored:
            reached.answered(job.target.id)
        if isinstance(fault, NotAskedError):
            pending.not_asked[job.target.id][answer.question] = answer
        elif fault is None or pending.wanted or fault.kind not in _OF_A_SERVER:
            kept.add(job, answer)

    def _keep_rest(self, job: _Job, kept: _Kept) -> None:
        """Keeps an error for each question that was given no outcome."""
        kept.write()
        for question in job.left:
            fault = CapgateError(
                "the question was not asked: the evaluation ended before it", target=job.target.id
            )
            kept.add(job, error_answer(question, str(fault)))


class _Kept:
    """Answers on their way into the store: those of a moment are written together.

    To commit an answer takes as long as to read and score it. In its block, a fault of the store
    cancels the task that asks, and is raised in place of the cancellation.

    Args:
        answers: Where answers are kept.
    """

    def __init__(self, answers: StoredAnswers) -> None:
        self._answers = answers
        self._due: list[tuple[_Job, Answer]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._fault: Exception | None = None
        self._asking: asyncio.Task[Any] | None = None

    def __enter__(self) -> None:
        self._asking = asyncio.current_task()

    def __exit__(self, kind: object, raised: BaseException | None, trace: object) -> None:
        if self._fault is not None:
            if self._asking is not None:
                self._asking.uncancel()
            raise self._fault from None
        self.write()

    def add(self, job: _Job, answer: Answer) -> None:
        """Has an answer kept: now, or a moment after the last ones that were.

        Raises:
            StoreError: It can't be written.
        """
        self._due.append((job, answer))
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next:
            self.write()
        else:
            self._timer = loop.call_at(self._next, self._write_in_time)

    def write(self) -> None:
        """Writes what is not yet in the store.

        Raises:
            StoreError: It can't be written.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due, self._due = self._due, []
        if not due:
            return
        self._answers.keep(
            [
                NewAnswer(
                    job.target.context,
                    one,
                    job.target.id,
                    job.pending.look,
                    self._answers.benchmark,
                )
                for job, one in due
            ]
        )
        self._next = asyncio.get_running_loop().time() + _MOMENT
        for job, answer in due:
            job.recorded.add(answer.question)
            job.pending.asked[job.target.id] += 1
            job.pending.news.append((job.target.id, answer, True))

    def _write_in_time(self) -> None:
        try:
            self.write()
        except Exception as fault:
            self._fault = self._fault or fault
            if self._asking is not None:
                self._asking.cancel()


def _task_of(job: _Job) -> QuestionTask:
    return QuestionTask(
        job.pending.batch.name,
        job.pending.missing[job.target.id],
        job.target.client,
        target=job.target.id,
        look=job.pending.look,
    )
