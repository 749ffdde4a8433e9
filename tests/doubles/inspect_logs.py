"""Logs that Inspect itself writes: it evaluates invented questions that a table answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from inspect_ai import Task, eval_async
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Scorer, match
from inspect_ai.solver import generate, system_message

from capgate.common.event_loop import in_own_loop

QUESTIONS = 40


def evaluate(
    folder: Path,
    *,
    wrong: Collection[int] = (),
    broken: Collection[int] = (),
    form: Literal["eval", "json"] = "eval",
    scorers: Sequence[Scorer] | None = None,
    system: str = "Be brief.",
    epochs: int = 1,
    fail_on_error: bool = False,
) -> Path:
    """Has Inspect ask 40 sums of two groups; returns the log that it writes.

    Args:
        folder: Where the log is written.
        wrong: Which sums are answered wrong.
        broken: Which requests fail.
        form: Of the log.
        scorers: In place of `match`.
        system: What the model is told first.
        epochs: How often each sum is asked.
        fail_on_error: Whether the evaluation ends at the first failed request.
    """

    def answer(messages: list[Any], *_: object) -> ModelOutput:
        words = messages[-1].text.rstrip("?").split()
        first, second = int(words[2]), int(words[4])
        if first in broken:
            raise RuntimeError("the server died")
        output = ModelOutput.from_content("mockllm/m", str(first + second + (first in wrong)))
        output.usage = ModelUsage(input_tokens=9, output_tokens=2, total_tokens=11)
        return output

    task = Task(
        name="sums",
        dataset=[
            Sample(
                id=f"q{at}",
                input=f"What is {at} plus {at % 7}?",
                target=str(at + at % 7),
                metadata={"subject": "odd" if at % 2 else "even"},
            )
            for at in range(QUESTIONS)
        ],
        solver=[system_message(system), generate()],
        scorer=list(scorers or [match(location="exact")]),
    )
    model = get_model("mockllm/m", custom_outputs=answer, memoize=False)
    (log,) = in_own_loop(
        lambda: eval_async(
            task,
            model=model,
            log_dir=str(folder),
            log_format=form,
            epochs=epochs,
            fail_on_error=fail_on_error,
        )
    )
    return Path(log.location)
