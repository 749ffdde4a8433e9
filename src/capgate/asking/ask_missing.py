"""Targets asked what the store lacks; each answer is stored as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from capgate.asking.batches import Job, PendingBatch, are_apart, jobs_at_once, jobs_in_order
from capgate.asking.cost_limit import NotAskedError
from capgate.asking.inspect_calls import ask_questions
from capgate.asking.outcome import Outcome, QuestionTask, error_answer
from capgate.asking.ready_target import Progress, ReadyTarget
from capgate.asking.stored_answers import StoredAnswers
from capgate.benchmarks.mmlu.task import MmluTask
from capgate.client.faults import CONNECTION_KINDS
from capgate.common.answers import Answer
from capgate.common.errors import CapgateError, RequestFault
from capgate.serving.lost import UnreachableTargets

_IN_PROGRESS: Final = 3
"""Samples in progress for each connection. The client bounds the requests in flight; the other
samples are ready to be sent, so that a place is taken as soon as it is free and not when a sample
is scored and logged."""


@dataclass
class _Recorder:
    """Keeps outcomes as they come.

    Attributes:
        answers: Where answers are kept.
        unreachable: Which targets could not be reached.
        progress: Told of each answer.
        scored: Answers that count in an accuracy.
        unexplained: Errors without a fault. A question that an interrupt cancels ends so; whether
            there was an interrupt is known only at the end.
    """

    answers: StoredAnswers
    unreachable: UnreachableTargets
    progress: Progress | None
    scored: int = 0
    unexplained: list[tuple[Job, Answer]] = field(default_factory=list)

    def take(self, job: Job, outcome: Outcome) -> None:
        """Takes the outcome of one question."""
        answer, fault = outcome.answer, outcome.fault
        if fault is not None:
            job.pending.faults.setdefault(job.target.id, fault)
        if isinstance(fault, RequestFault):
            self.unreachable.failed(job.target.id, fault, given_up=job.target.client.given_up)
        elif answer.state.scored:
            self.unreachable.answered(job.target.id)
        if isinstance(fault, NotAskedError):
            job.not_asked[answer.question] = answer
        elif outcome.unexplained:
            self.unexplained.append((job, answer))
        else:
            self.keep(job, answer)

    def keep(self, job: Job, answer: Answer) -> None:
        """Stores an answer and tells of it."""
        self.answers.keep(job.target, answer)
        job.recorded.add(answer.question)
        self.scored += answer.state.scored
        if self.progress is not None:
            self.progress(job.target.id, answer, True)

    def keep_rest(self, jobs: Sequence[Job]) -> None:
        """Stores an error for each question of ended jobs that has no outcome yet."""
        for job, answer in self.unexplained:
            self.keep(job, answer)
        for job in jobs:
            for question in job.questions:
                if question.hash not in job.recorded | job.not_asked.keys():
                    fault = CapgateError(
                        "the question was not asked: the evaluation ended before it",
                        target=job.target.id,
                    )
                    self.keep(job, error_answer(question, str(fault)))


def ask_missing(
    batches: Sequence[PendingBatch],
    targets: Sequence[ReadyTarget],
    answers: StoredAnswers,
    *,
    mmlu_task: MmluTask,
    temperature: float,
    logs: Path,
    unreachable: UnreachableTargets,
    check_server: Callable[[ReadyTarget], None],
    progress: Progress | None,
) -> float | None:
    """Asks targets what the store lacks, in one evaluation.

    Args:
        batches: What is to be asked; they get the logs, and the questions that were not asked.
        targets: The targets.
        answers: Where answers are kept.
        mmlu_task: The benchmark's task.
        temperature: Sampling temperature.
        logs: Folder for Inspect's logs.
        unreachable: Is told which targets could not be reached.
        check_server: Raises where a target's server has ended.
        progress: Told of each answer as it comes.

    Returns:
        Scored answers a second; None where nothing was asked.

    Raises:
        StoreError: An answer can't be kept.
        FileError: A log can't be written.
        ServerEndedError: A server ended on the way.
        KeyboardInterrupt: The evaluation was interrupted.
    """
    jobs = [job for job in jobs_in_order(batches, targets) if job.questions]
    asked: dict[QuestionTask, Job] = {}
    for job in jobs:
        cost = job.target.client.cost
        if cost is not None and cost.over:
            refusal = str(cost.refusal())
            job.not_asked.update((q.hash, error_answer(q, refusal)) for q in job.questions)
        else:
            asked[_task_of(job, answers)] = job
    if not asked:
        return None
    recorder, apart = _Recorder(answers, unreachable, progress), are_apart(targets)

    def take(task: QuestionTask, outcome: Outcome) -> None:
        job, fault = asked[task], outcome.fault
        recorder.take(job, outcome)
        if isinstance(fault, RequestFault) and fault.kind in CONNECTION_KINDS and apart:
            # Otherwise each target whose turn comes would wait for the server anew.
            check_server(job.target)

    samples = _IN_PROGRESS * max(one.client.client.limits.connections for one in targets)
    started = time.monotonic()
    found = ask_questions(
        list(asked),
        mmlu_task,
        logs,
        temperature=temperature,
        on_outcome=take,
        samples=samples,
        tasks_at_once=jobs_at_once(asked.values(), 1 if apart else len(targets), samples),
    )
    pace = recorder.scored / (time.monotonic() - started)
    recorder.keep_rest(list(asked.values()))
    for task, log in found.items():
        asked[task].pending.logs[task.target] = log
    return pace


def _task_of(job: Job, answers: StoredAnswers) -> QuestionTask:
    return QuestionTask(
        job.pending.batch.name,
        job.questions,
        job.target.model,
        target=job.target.id,
        look=answers.look,
    )
