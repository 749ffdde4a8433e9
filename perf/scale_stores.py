"""Stores that many machines wrote, put together: time and memory of `capgate store merge`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from perf.measuring import Command, Cost, cost_of

if TYPE_CHECKING:
    from capgate.common.answers import Answer

_BATCH: Final = 1000


def fill(files: list[Path], answers: int) -> None:
    """Writes what machines leave that ask at the same time, each a target of its own.

    Args:
        files: A store for each machine.
        answers: Made-up answers of each.
    """
    from capgate.common.redact import Redactor
    from capgate.store.answer_rows import NewAnswer
    from capgate.store.answer_store import Store

    with ExitStack() as stack:
        stores = [stack.enter_context(Store(file, Redactor(()))) for file in files]
        for number, store in enumerate(stores):
            store.start_run(f"run-{number}", {})
        for start in range(0, answers, _BATCH):
            made = [_answer(one) for one in range(start, min(start + _BATCH, answers))]
            for number, store in enumerate(stores):
                target = f"adapter-{number}"
                context = store.context(target, "prompt", {})
                new = (NewAnswer(context, one, target, "first", "made-up") for one in made)
                store.add_all(new, run=f"run-{number}")


def _answer(number: int) -> Answer:
    from capgate.common.answers import Answer, AnswerState

    state = AnswerState.CORRECT if number % 10 else AnswerState.WRONG
    return Answer(
        sha256(str(number).encode()).hexdigest(),
        f"part-{number % 57}",
        state,
        "A",
        "ANSWER: A",
        prompt_tokens=100,
        completion_tokens=5,
        seconds=0.05,
    )


def merged(folder: Path, stores: int, answers: int) -> tuple[Cost, Cost]:
    """Puts so many stores together, and then once more.

    Args:
        folder: For the stores.
        stores: How many.
        answers: Answers of each.

    Returns:
        What the first and the second time took.

    Raises:
        SystemExit: An answer is missing or doubled.
    """
    files = [folder / f"{number}.sqlite" for number in range(stores)]
    fill(files, answers)
    program = str(Path(sys.executable).with_name("capgate"))
    into = folder / "all.sqlite"
    arguments = [program, "store", "merge", *map(str, files), "--into", str(into)]
    command = Command("store merge", arguments, folder, stores * answers)
    first, again = cost_of(command), cost_of(command)
    for cost in (first, again):
        if f"{stores * answers:,} answers" not in cost.output:
            raise SystemExit(f"the stores were not put together whole: {cost.output}")
    return first, again
