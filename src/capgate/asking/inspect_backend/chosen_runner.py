"""The runner of each task: the direct one where that can ask it, else Inspect's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from capgate.asking.inspect_backend.direct_tasks import why_not_direct
from capgate.asking.inspect_backend.inspect_tasks import inspect_task
from capgate.asking.outcome import QuestionTask
from capgate.asking.runner import OnOutcome
from capgate.benchmarks.benchmark import Benchmark

if TYPE_CHECKING:
    from capgate.asking.inspect_backend.direct_runner import DirectRunner
    from capgate.asking.inspect_backend.inspect_runner import InspectRunner


class ChosenRunner:
    """Asks through the runner that a benchmark's tasks need (`runner.Runner`).

    Args:
        benchmark: What is asked.
        direct: Makes what asks tasks of one turn.
        inspect: Makes what asks all others.
        tell: Told once why the direct runner can't ask.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        direct: Callable[[], DirectRunner],
        inspect: Callable[[], InspectRunner],
        tell: Callable[[str], None],
    ) -> None:
        self._benchmark = benchmark
        # All tasks of a benchmark have the same solvers and scorers.
        self._reason = why_not_direct(benchmark.direct_task([benchmark.probe], shard="probe"))
        self._direct = None if self._reason else direct()
        self._make_inspect = inspect
        self._inspect = inspect() if self._reason else None
        self._told = False
        self._tell = tell

    async def ask(
        self,
        tasks: Sequence[QuestionTask],
        on_outcome: OnOutcome,
        room: Callable[[], None] = lambda: None,
    ) -> None:
        """Asks the questions of tasks; see `Runner`."""
        reason = self._reason
        if self._direct is not None:
            made = [inspect_task(task, self._benchmark, direct=True) for task in tasks]
            reason = next(filter(None, (why_not_direct(one.made) for one in made)), "")
            if not reason:
                return await self._direct.ask_made(made, on_outcome, room)
        if self._inspect is None:
            self._inspect = self._make_inspect()
        if not self._told:
            self._told = True
            self._tell(
                f"{self._benchmark.name}: Inspect's own evaluation asks it, which takes more "
                f"processor time a question, since {reason}"
            )
        return await self._inspect.ask(tasks, on_outcome, room)
