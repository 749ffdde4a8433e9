"""What a benchmark's task adds to its questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from inspect_ai.model import ModelOutput
from inspect_ai.solver import Solver, TaskState

from capgate.asking.inspect_backend.direct_sample import solvers_of
from capgate.asking.inspect_backend.direct_tasks import why_not_direct
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.questions import Question, whole_text
from capgate.benchmarks.without_model import no_model, unasked
from capgate.common.event_loop import in_own_loop

_LOOKED_AT: Final = 50
"""Questions whose prompts are looked at: few-shot examples differ from group to group."""


def instructions_of(benchmark: Benchmark, questions: Sequence[Question]) -> int | None:
    """See `capgate.asking.inspect_calls.instructions_of`."""
    some = questions[:: max(1, len(questions) // _LOOKED_AT)]
    task = benchmark.direct_task(some, shard="prompts")
    if why_not_direct(task):
        return None
    solvers = solvers_of(task.solver)

    async def longest() -> int:
        return max([await _added(solvers, question) for question in some])

    with no_model():
        return in_own_loop(longest)


async def _added(solvers: Sequence[Solver], question: Question) -> int:
    """Bytes that solvers add to a question and its choices until the model is asked."""
    added, bare = 0, len(whole_text(question.sample).encode())

    async def generate(state: TaskState, *_: object, **__: object) -> TaskState:
        nonlocal added
        sent = sum(len(message.text.encode()) for message in state.messages)
        added = max(added, sent - bare)
        state.output = ModelOutput.from_content("none/none", "")
        state.completed = True
        return state

    state = unasked(question.sample)
    for solver in solvers:
        state = await solver(state, generate)
        if state.completed:
            break
    return added
