"""Questions asked in one of Inspect's evaluations; each ends in an `Outcome`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from inspect_ai import Task

from capgate.asking.inspect_backend.read_sample import outcome_of
from capgate.asking.inspect_backend.run_eval import EndedSample, run_eval
from capgate.asking.outcome import LOOK, TARGET, Outcome, QuestionTask
from capgate.benchmarks.mmlu.task import MmluTask


def ask_questions(
    tasks: Sequence[QuestionTask],
    mmlu_task: MmluTask,
    logs: Path,
    *,
    temperature: float,
    on_outcome: Callable[[QuestionTask, Outcome], None],
    samples: int,
    tasks_at_once: int | None,
) -> dict[QuestionTask, Path]:
    """See `capgate.asking.inspect_calls.ask_questions`."""
    by_name = {}
    questions = {}
    inspects = []
    for task in tasks:
        made = _task_of(task, mmlu_task)
        by_name[task.target, made.name] = task
        questions[task] = {str(question.sample.id): question for question in task.questions}
        inspects.append(made)

    def take(ended: EndedSample) -> None:
        task = by_name[ended.target, ended.task]
        question = questions[task][str(ended.sample.id)]
        on_outcome(task, outcome_of(ended.sample, ended.fault, question, task.model))

    found = run_eval(
        inspects,
        None,
        logs,
        max_connections=samples,
        max_tasks=len(tasks) if tasks_at_once is None else tasks_at_once,
        on_sample=take,
        temperature=temperature,
    )
    if any(log.status == "cancelled" for log in found):
        # Inspect does not raise an interrupt; it returns what it has.
        raise KeyboardInterrupt
    return {
        by_name[(log.eval.metadata or {}).get(TARGET, ""), log.eval.task]: Path(log.location)
        for log in found
    }


def _task_of(task: QuestionTask, mmlu_task: MmluTask) -> Task:
    made = mmlu_task.task(task.questions, shard=task.name)
    made.model = task.model
    about = {TARGET: task.target, LOOK: task.look}
    made.metadata = {**(made.metadata or {}), **{key: it for key, it in about.items() if it}}
    return made
