"""What asks models the questions of tasks, and tells how each question ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from capgate.asking.outcome import Outcome, QuestionTask

OnOutcome = Callable[[QuestionTask, Outcome], None]
"""Called with each question's outcome as it comes."""


class Runner(Protocol):
    """Asks models the questions of Inspect's tasks.

    | runner | for |
    |---|---|
    | `DirectRunner` | tasks of one turn, at the least cost a question |
    | `InspectRunner` | any task, by Inspect's own `eval()` |
    """

    async def ask(
        self,
        tasks: Sequence[QuestionTask],
        on_outcome: OnOutcome,
        room: Callable[[], None] = lambda: None,
    ) -> None:
        """Asks the questions of tasks, side by side, and writes a log of each task.

        Cancelling it cancels the questions that have no answer yet; the logs then hold the
        others and say `cancelled`.

        Args:
            tasks: What to ask which model.
            on_outcome: Called with each outcome. Where it raises, unanswered questions are
                cancelled.
            room: Called when another call can ask without delaying this one.

        Raises:
            FileError: A log can't be written.
            CapgateError: The task itself is at fault.
            Exception: What `on_outcome` raised.
        """
