"""Tasks of one turn, run by us: the least that a question can cost.

`inspect_ai.eval` does for each sample what an agent with tools needs. A question that is asked
once and scored by a function needs none of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4
from weakref import WeakKeyDictionary

from capgate.asking.inspect_backend.direct_sample import SampleRunner
from capgate.asking.inspect_backend.direct_tasks import why_never_direct
from capgate.asking.inspect_backend.inspect_tasks import MadeTask, inspect_task
from capgate.asking.inspect_backend.lanes import Lane, Work
from capgate.asking.inspect_backend.read_sample import outcome_of
from capgate.asking.inspect_backend.shard_log import ShardLog
from capgate.asking.inspect_backend.task_record import record_of
from capgate.asking.outcome import QuestionTask
from capgate.asking.runner import OnOutcome
from capgate.asking.target_client import TargetClient
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.questions import Question
from capgate.benchmarks.without_model import no_model
from capgate.common.errors import CapgateError
from capgate.config.run_options import LogFormat

_IN_PROGRESS: Final = 2
"""Questions in progress for each connection. The client bounds the requests in flight; the other
questions are ready to be sent as soon as a place is free."""


class DirectRunner:
    """Runs tasks whose solver asks once and whose scorer asks no model (`runner.Runner`).

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
        self._lanes: WeakKeyDictionary[TargetClient, Lane] = WeakKeyDictionary()
        self._record = record_of(benchmark)

    async def ask(
        self,
        tasks: Sequence[QuestionTask],
        on_outcome: OnOutcome,
        room: Callable[[], None] = lambda: None,
    ) -> None:
        """Asks the questions of tasks; see `Runner`.

        A solver or scorer that is not known is taken at its word: a question is an error where
        it asks a model by itself.

        Raises:
            CapgateError: A task can't be asked question by question.
        """
        made = [inspect_task(task, self._benchmark, direct=True) for task in tasks]
        for one in made:
            if reason := why_never_direct(one.made):
                raise CapgateError(
                    f"its task can't be asked question by question: {reason}",
                    target=one.asked.target,
                    remedy="run it with --runner inspect, or without --runner",
                )
        await self.ask_made(made, on_outcome, room)

    async def ask_made(
        self, tasks: Sequence[MadeTask], on_outcome: OnOutcome, room: Callable[[], None]
    ) -> None:
        """Asks tasks that can be asked question by question; see `Runner.ask`."""
        run = uuid4().hex
        shards = [self._shard(task, on_outcome, run) for task in tasks]
        with no_model():
            works = [Work(shard.questions(), room) for shard in shards]
            for task, work in zip(tasks, works, strict=True):
                self._lane(task.asked.client).put(work)
            fault: BaseException | None = None
            try:
                # Unlike `gather`, it leaves the work as it is where this is cancelled.
                ended, _ = await asyncio.wait(
                    [work.ended for work in works], return_when=asyncio.FIRST_EXCEPTION
                )
                for one in ended:
                    one.result()
            except BaseException as raised:
                fault = raised
                await _cancel(works)
                raise
            finally:
                await self._write(shards, fault)

    def _shard(self, task: MadeTask, on_outcome: OnOutcome, run: str) -> _Shard:
        asked, made = task.asked, task.made
        runner = SampleRunner(made, self._record, asked.client, self._temperature)
        log = ShardLog(
            made,
            self._record,
            runner,
            asked.client,
            self._logs,
            run=run,
            form=self._format,
        )
        return _Shard(asked, self._benchmark, runner, log, on_outcome)

    def _lane(self, client: TargetClient) -> Lane:
        if client not in self._lanes:
            self._lanes[client] = Lane(_IN_PROGRESS * client.client.limits.connections)
        return self._lanes[client]

    async def _write(self, shards: Sequence[_Shard], fault: BaseException | None) -> None:
        """Writes what is in no log yet; a fault that ended the asking is the one that is told."""
        cancelled = isinstance(fault, asyncio.CancelledError)
        for shard in shards:
            samples = shard.log.take()
            if not samples:
                continue
            try:
                await asyncio.to_thread(shard.log.write, samples, fault, cancelled=cancelled)
            except Exception:
                if fault is None:
                    raise


class _Shard:
    """One task while it is asked."""

    def __init__(
        self,
        task: QuestionTask,
        benchmark: Benchmark,
        runner: SampleRunner,
        log: ShardLog,
        on_outcome: OnOutcome,
    ) -> None:
        self.task = task
        self._benchmark = benchmark
        self.log = log
        self._runner = runner
        self._on_outcome = on_outcome

    def questions(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What asks each question."""
        return (self._ask(question) for question in self.task.questions)

    async def _ask(self, question: Question) -> None:
        ended = await self._runner.run(question.sample)
        self.log.add(ended)
        self._on_outcome(
            self.task,
            outcome_of(
                ended.sample, ended.fault, question, self._benchmark, self.task.client.redactor
            ),
        )
        if self.log.full:
            await asyncio.to_thread(self.log.write, self.log.take())


async def _cancel(works: Sequence[Work]) -> None:
    """Cancels work and waits for its end."""
    for work in works:
        work.cancel()
    await asyncio.gather(*(work.ended for work in works), return_exceptions=True)
