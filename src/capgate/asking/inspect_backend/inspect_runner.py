"""Tasks run by Inspect's own evaluation: any task, at what Inspect costs.

Nothing of Inspect is replaced. Its hooks hand out each sample as it ends, so that answers are
stored as they come. Its logs are its own; what is secret in them is cut out at the end of the run
(`run.log_sweep`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Final

import inspect_ai
from inspect_ai.hooks import Hooks, SampleEnd, TaskStart, hooks
from inspect_ai.log import EvalLog, EvalSpec
from inspect_ai.model import get_model

from capgate.asking.inspect_backend.inspect_tasks import MadeTask, inspect_task
from capgate.asking.inspect_backend.one_evaluation import one_evaluation
from capgate.asking.inspect_backend.provider import model_of
from capgate.asking.inspect_backend.read_sample import outcome_of
from capgate.asking.inspect_backend.sample_faults import SampleFaults
from capgate.asking.inspect_backend.shard_log import LOGS
from capgate.asking.outcome import LOOK, TARGET, QuestionTask
from capgate.asking.runner import OnOutcome
from capgate.benchmarks.benchmark import Benchmark
from capgate.common.errors import CapgateError
from capgate.common.files import file_error, told_of_files
from capgate.common.private_files import own_folder
from capgate.config.run_options import LogFormat

_IN_PROGRESS: Final = 3
"""Samples in progress for each connection. The client bounds the requests in flight; the other
samples are ready to be sent, so that a place is taken as soon as it is free and not when a sample
is scored and logged."""

_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
"""What is left of an operating system's error in a log."""


class InspectRunner:
    """Runs tasks by `inspect_ai.eval_async` (`runner.Runner`).

    Inspect runs one evaluation at a time in a process: a second call waits for the first. Each
    question is asked once, in how many epochs the task asks by itself.

    Args:
        benchmark: What is asked.
        logs: Folder for Inspect's logs.
        temperature: Sampling temperature.
        log_format: How logs are written.
    """

    def __init__(
        self, benchmark: Benchmark, logs: Path, *, temperature: float, log_format: LogFormat
    ) -> None:
        self._benchmark = benchmark
        self._logs = logs
        self._temperature = temperature
        self._format = log_format
        # What it imports is imported here: CPython 3.11 fails where two threads parse.
        _hear_of_samples()

    async def ask(
        self,
        tasks: Sequence[QuestionTask],
        on_outcome: OnOutcome,
        room: Callable[[], None] = lambda: None,  # noqa: ARG002 (there is none until it ends)
    ) -> None:
        """Asks the questions of tasks in one evaluation; see `Runner`.

        Raises:
            ValueError: Two of the tasks could not be told apart in a log.
        """
        made = [inspect_task(task, self._benchmark, direct=False) for task in tasks]
        asked = _Asked(made, self._benchmark, on_outcome)
        async with one_evaluation():
            with told_of_files(LOGS, path=self._logs):
                own_folder(self._logs)
            asked.evaluation = asyncio.get_running_loop().create_task(self._evaluate(asked))
            try:
                with told_of_files(LOGS, path=self._logs):
                    logs = await asked.evaluation
            except (Exception, asyncio.CancelledError) as error:
                if asked.fault is not None:
                    raise asked.fault from None
                if isinstance(error, CapgateError | asyncio.CancelledError):
                    raise
                raise _fault_of_inspect(str(error)) from error
            finally:
                self._make_logs_private()
        if asked.fault is not None:
            raise asked.fault
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            # Inspect may take a cancellation for the end of its work and return what it has.
            raise asyncio.CancelledError
        for log in logs:
            _check_ended(log, self._logs)

    async def _evaluate(self, asked: _Asked) -> list[EvalLog]:
        _current.set(asked)
        for task in asked.tasks:
            task.made.model = model_of(task.asked.client, asked.faults)
        made = [task.made for task in asked.tasks]
        samples = _IN_PROGRESS * max(
            task.asked.client.client.limits.connections for task in asked.tasks
        )
        return await inspect_ai.eval_async(
            made,
            model=None,
            log_dir=str(self._logs),
            log_format=self._format,
            fail_on_error=False,
            max_tasks=len(made),
            max_samples=samples,
            max_connections=samples,
            # One write a log, when its task ends: what is asked is in the store by then.
            log_buffer=max(len(task.asked.questions) for task in asked.tasks) + 1,
            epochs=1,
            log_realtime=False,
            log_images=False,
            log_header_only=True,
            score_display=False,
            ctl_server=False,
            temperature=self._temperature,
        )

    def _make_logs_private(self) -> None:
        for path in self._logs.glob(f"*.{self._format}"):
            # Another process may replace its log meanwhile.
            with contextlib.suppress(FileNotFoundError):
                path.chmod(0o600)


def _check_ended(log: EvalLog, folder: Path) -> None:
    """Makes sure that no fault of Inspect's own ended a task: a sample's never does."""
    if log.status == "success":
        return
    said = log.error.message if log.error else f"the task is {log.status}"
    number = _ERRNO.search(said)
    if number is not None:
        raise file_error(OSError(int(number[1]), said), LOGS, path=folder)
    raise _fault_of_inspect(said)


def _fault_of_inspect(said: str) -> CapgateError:
    return CapgateError(
        "Inspect ended the evaluation by a fault of its own",
        said=said,
        remedy="what was answered is kept; run again, and report it if it comes back",
    )


class _Asked:
    """The tasks of an evaluation while it runs.

    Attributes:
        tasks: The tasks.
        faults: The faults of their samples.
        fault: What the caller raised when it was told of an outcome.
        evaluation: The one of asyncio's tasks that asks them.
    """

    evaluation: asyncio.Task[list[EvalLog]]

    def __init__(
        self, tasks: Sequence[MadeTask], benchmark: Benchmark, on_outcome: OnOutcome
    ) -> None:
        self.tasks = tasks
        self._benchmark = benchmark
        self.faults = SampleFaults()
        self.fault: Exception | None = None
        self._on_outcome = on_outcome
        self._running: dict[str, QuestionTask] = {}
        self._named = {
            (task.made.name, task.asked.target, task.asked.look): task.asked for task in tasks
        }
        if len(self._named) < len(tasks):
            raise ValueError("two tasks of one name ask one target for the same reason")
        self._questions = {
            task.asked: {str(one.sample.id): one for one in task.asked.questions} for task in tasks
        }

    def task(self, spec: EvalSpec) -> QuestionTask:
        """The task that a log is of."""
        about = spec.metadata or {}
        return self._named[spec.task, str(about.get(TARGET, "")), str(about.get(LOOK, ""))]

    def started(self, data: TaskStart) -> None:
        """Notes which task an evaluation's id belongs to."""
        self._running[data.eval_id] = self.task(data.spec)

    def ended(self, data: SampleEnd) -> None:
        """Tells the caller of a sample's outcome; where it raises, the rest is cancelled."""
        failed = data.sample.error is not None
        if self.fault is not None or (failed and self.evaluation.cancelling()):
            return
        task = self._running[data.eval_id]
        question = self._questions[task][str(data.sample.id)]
        fault = self.faults.of_this_sample() if failed else None
        try:
            self._on_outcome(
                task,
                outcome_of(data.sample, fault, question, self._benchmark, task.client.redactor),
            )
        except Exception as raised:
            # Inspect would log it and go on.
            self.fault = raised
            self.evaluation.cancel()


_current: ContextVar[_Asked | None] = ContextVar("capgate_asked", default=None)
"""What the evaluation asks in whose context a hook is called."""


class _SampleHooks(Hooks):
    """Tells the running evaluation of its tasks and samples."""

    async def on_task_start(self, data: TaskStart) -> None:
        if (asked := _current.get()) is not None:
            asked.started(data)

    async def on_sample_end(self, data: SampleEnd) -> None:
        if (asked := _current.get()) is not None:
            asked.ended(data)


@functools.cache
def _hear_of_samples() -> None:
    """Registers the hooks.

    Not when this module is imported: Inspect announces on the terminal all hooks that it finds
    when it makes its first model.
    """
    get_model("none/none")
    hooks(name="capgate_samples", description="Stores answers as they come.")(_SampleHooks)
