"""Stored texts put through a task's own solvers and scorers once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inspect_ai import Task
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Score, Target
from inspect_ai.solver import TaskState

from capgate.asking.inspect_backend.direct_sample import named_scorers, solvers_of
from capgate.asking.inspect_backend.direct_tasks import why_no_text_is_enough
from capgate.asking.outcome import short_choice
from capgate.benchmarks.benchmark import Benchmark, Reading
from capgate.benchmarks.questions import Question
from capgate.benchmarks.without_model import no_model, unasked
from capgate.common.errors import CapgateError, ConfigError
from capgate.common.event_loop import in_own_loop
from capgate.common.text import one_line


def read_texts(
    asked: Sequence[tuple[Question, str]], benchmark: Benchmark, on_read: Callable[[], None]
) -> list[Reading]:
    """See `capgate.asking.inspect_calls.read_texts`."""
    task = benchmark.direct_task([question for question, _ in asked], shard="rescore")
    if reason := why_no_text_is_enough(task):
        raise ConfigError(
            f"answers to {benchmark.name} can't be scored again from their texts: {reason}",
            remedy="have Inspect score the runs' logs: inspect score",
        )
    reader = _Reader(task, benchmark)

    async def read_all() -> list[Reading]:
        found = []
        for question, text in asked:
            found.append(await reader.read(question, text))
            on_read()
        return found

    with no_model():
        return in_own_loop(read_all)


class _Reader:
    """Reads texts as an evaluation reads a model's answers."""

    def __init__(self, task: Task, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._solvers = solvers_of(task.solver)
        self._scorers = named_scorers(task.scorer or [])

    async def read(self, question: Question, text: str) -> Reading:
        sample = question.sample
        try:
            state = await self._answered(unasked(sample), text)
            scores: dict[str, Score] = {}
            for name, scorer in self._scorers.items():
                score = await scorer(state, Target(sample.target))
                if score is not None:
                    scores[name] = score
        except CapgateError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{self._benchmark.name}'s own solver or scorer fails on a stored answer",
                said=f"{type(error).__name__}: {one_line(str(error), limit=200)}",
                remedy="mend the task, or score the runs' logs: inspect score",
            ) from None
        if not scores:
            raise ConfigError("today's scorer gives no score", remedy="see the task's changes")
        ended, read = self._benchmark.read(scores, state.output)
        return Reading(ended, short_choice(read))

    async def _answered(self, state: TaskState, text: str) -> TaskState:
        """The state in which a sample would be scored whose model had answered this text."""
        asked = 0

        async def generate(state: TaskState, *_: object, **__: object) -> TaskState:
            nonlocal asked
            asked += 1
            if asked > 1:
                raise ConfigError(
                    f"answers to {self._benchmark.name} can't be scored again from their texts: "
                    "it asks a question more than once, and the last answer's text alone is kept",
                    remedy="have Inspect score the runs' logs: inspect score",
                )
            state.output = ModelOutput.from_content("none/none", text)
            state.messages.append(state.output.message)
            return state

        for solver in self._solvers:
            state = await solver(state, generate)
            if state.completed:
                break
        return state
