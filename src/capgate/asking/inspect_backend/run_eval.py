"""Inspect's `eval()` at the least CPU a question, with the whole log kept.

What costs in an eval of short questions is not the requests but what happens around each
of them. `run_eval` turns off what is only for watching a run live, takes finished samples
from a hook, and writes them into their task's log in one go when that is over: a log of
the same samples with the same events, prompts, answers and scores.

What goes beyond Inspect's public interface for that is in `shortcuts` and `eval_log` beside
this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import inspect_ai
from inspect_ai import Task
from inspect_ai.hooks import Hooks, RunStart, SampleEnd, TaskEnd, TaskStart, hooks
from inspect_ai.log import EvalLog, EvalSample, transcript
from inspect_ai.model import GenerateConfig, Model

from capgate.asking.inspect_backend.eval_log import KeptSample, fill_log, keep
from capgate.asking.inspect_backend.provider import Fault, listen, redactor_of
from capgate.asking.inspect_backend.shortcuts import let_go, shortcuts
from capgate.asking.outcome import TARGET
from capgate.common.errors import CapgateError
from capgate.common.files import file_error, told_of_files
from capgate.common.garbage import collected_rarely

_LOGS: Final = "the evaluation's logs"
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")


@dataclass(frozen=True, slots=True)
class EndedSample:
    """A sample that has ended.

    Attributes:
        target: Which target its task asks, see `outcome.TARGET`; `""` where it does not say.
        task: The task's name.
        sample: The sample as Inspect hands it out.
        fault: The fault that ended it; None where another error or none did.
    """

    target: str
    task: str
    sample: EvalSample
    fault: Fault | None


OnSample = Callable[[EndedSample], None]


def run_eval(
    tasks: Task | Sequence[Task],
    models: Model | Sequence[Model] | None,
    log_dir: Path | str,
    *,
    max_connections: int = 64,
    on_sample: OnSample | None = None,
    config: GenerateConfig | None = None,
    **options: Any,  # noqa: ANN401
) -> list[EvalLog]:
    """Runs one `eval()` and returns its logs, whose samples are in their files alone.

    A sample that fails stays a failed sample: it is not scored, and the others go on.

    Args:
        tasks: One or several tasks, of different names.
        models: One or several models; every task runs on each. None where each task names its
            own.
        log_dir: Where the `.eval` logs go.
        max_connections: Requests in flight for each model.
        on_sample: Called with each sample as it ends. Where it raises, unanswered samples are
            cancelled.
        config: Generation settings for the whole eval.
        options: Further arguments of `eval()`; they win over the ones chosen here.

    Raises:
        FileError: A log can't be written.
        CapgateError: Inspect ended a task by a fault of its own.
        Exception: What `on_sample` raised.
    """
    tasks = [tasks] if isinstance(tasks, Task) else list(tasks)
    if isinstance(models, Model):
        models = [models]
    running = _Running({t.name: {str(s.id): at for at, s in enumerate(t.dataset)} for t in tasks})

    asked = [task.model for task in tasks] if models is None else models
    redactor = redactor_of(asked)

    def take(data: SampleEnd, fault: Fault | None) -> None:
        running.finished.setdefault(data.eval_id, []).append(keep(data.sample, redactor))
        if on_sample is not None and not running.faults:
            with running.ended_by_faults():
                target, task = running.tasks[data.eval_id]
                on_sample(EndedSample(target, task, data.sample, fault))
        asyncio.get_running_loop().call_soon(let_go, transcript())

    settings: dict[str, Any] = {
        "display": "none",
        "fail_on_error": False,
        "max_connections": max_connections,
        "max_samples": max_connections,
        "max_tasks": len(tasks) * len(models or [None]),
        "log_samples": False,
        "log_realtime": False,
        "log_model_api": False,
        "log_images": False,
        "score_display": False,
        "ctl_server": False,
    }
    if config is not None:
        settings.update(config.model_dump(exclude_none=True))
    settings.update(options)

    timed = [settings.get("working_limit"), *(task.working_limit for task in tasks)]
    spared = shortcuts(asked, timed=any(limit is not None for limit in timed))
    _register_hooks()
    _runs.append(running)
    stop = listen(take)
    try:
        with spared, collected_rarely(frozen=True):
            if models is not None:
                settings["model"] = list(models)
            with told_of_files(_LOGS, path=Path(log_dir)):
                logs = inspect_ai.eval(tasks, log_dir=str(log_dir), **settings)
                for log in logs:
                    # A task that was cut short never comes to the end that the hook is told of.
                    running.write(log)
            for log in logs:
                _check_ended(log, log_dir)
            return logs
    finally:
        stop()
        _runs.remove(running)
        if running.faults:
            # What else went wrong came of it, or of the same full disk.
            with told_of_files(_LOGS, path=Path(log_dir)):
                raise running.faults[0] from None


def _check_ended(log: EvalLog, log_dir: Path | str) -> None:
    """Makes sure that no fault of Inspect's own ended a task: a sample's never does.

    Raises:
        FileError: The log could not be written.
        CapgateError: The task ended by another fault.
    """
    if log.status != "error" or log.error is None:
        return
    said, number = log.error.message, _ERRNO.search(log.error.message)
    if number is not None:
        raise file_error(OSError(int(number[1]), said), _LOGS, path=Path(log_dir))
    raise CapgateError(
        "Inspect ended the evaluation by a fault of its own",
        said=said,
        remedy="what was answered is kept; run again, and report it if it comes back",
    )


class _Running:
    """The eval that runs; there is one at a time.

    Args:
        order: Task's name to the places of its samples, by id.

    Attributes:
        tasks: Eval's id to its target and the name of its task.
        finished: Eval's id to the samples that are not yet in its log.
        faults: What `on_sample` raised, and what kept a log from being written.
        task: The one of asyncio's tasks that it is.
    """

    def __init__(self, order: dict[str, dict[str, int]]) -> None:
        self._order = order
        self.tasks: dict[str, tuple[str, str]] = {}
        self.finished: dict[str, list[KeptSample]] = {}
        self.faults: list[Exception] = []
        self.task: asyncio.Task[Any] | None = None
        self._writing = threading.Lock()

    @contextlib.contextmanager
    def ended_by_faults(self) -> Iterator[None]:
        """Keeps the first fault of a block and does to the eval what Ctrl-C does.

        Inspect would log it and go on.
        """
        try:
            yield
        except Exception as fault:
            self.faults.append(fault)
            if len(self.faults) == 1 and self.task is not None:
                self.task.cancel()

    def write(self, log: EvalLog) -> None:
        """Puts the samples of a task that has ended into its log, in the data set's order."""
        samples = self.finished.pop(log.eval.eval_id, None)
        if samples is None:
            return
        place = self._order.get(log.eval.task, {})
        samples.sort(key=lambda sample: (sample.epoch, place.get(sample.id, 0)))
        with self._writing:
            fill_log(log, samples)


_runs: list[_Running] = []


class _RunHooks(Hooks):
    """Tells the running eval of its start and of its tasks' starts and ends."""

    async def on_run_start(self, data: RunStart) -> None:  # noqa: ARG002
        for running in _runs:
            running.task = asyncio.current_task()

    async def on_task_start(self, data: TaskStart) -> None:
        target = str((data.spec.metadata or {}).get(TARGET, ""))
        for running in _runs:
            running.tasks[data.eval_id] = target, data.spec.task

    async def on_task_end(self, data: TaskEnd) -> None:
        for running in _runs:
            with running.ended_by_faults():
                # Other tasks go on asking meanwhile. Not `to_thread`, which takes the context
                # along: Inspect, which reads a log back, would find itself inside of a loop.
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, running.write, data.log)


@functools.cache
def _register_hooks() -> None:
    hooks(name="capgate_running", description="Writes logs; lets an eval be cancelled.")(_RunHooks)
