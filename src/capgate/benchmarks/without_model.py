"""Solvers and scorers used without a model: what they send, and how they find a question."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from capgate.common.event_loop import in_own_loop
from capgate.common.while_needed import WhileNeeded

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.solver import Solver, TaskState

_MODEL: Final = "INSPECT_EVAL_MODEL"
"""The variable by which Inspect is told which model is evaluated."""


def sent_by(solver: Solver, sample: Sample) -> tuple[list[list[str]], dict[str, Any]]:
    """The messages and settings with which a solver asks a question.

    Args:
        solver: Asks once.
        sample: The question.

    Returns:
        Each message's role and text, and the settings that the solver names.
    """
    from inspect_ai.model import ModelOutput

    sent: list[list[str]] = []
    settings: dict[str, Any] = {}

    async def generate(state: TaskState, *_: object, **how: object) -> TaskState:
        sent.extend([message.role, message.text] for message in state.messages)
        settings.update(how)
        state.output = ModelOutput.from_content("none/none", "ANSWER: A")
        return state

    async def run() -> None:
        with no_model():
            await solver(unasked(sample), generate)

    in_own_loop(run)
    return sent, settings


def unasked(sample: Sample) -> TaskState:
    """The state in which a solver finds a sample that no model has been asked yet."""
    from inspect_ai.model import ChatMessageUser, ModelName
    from inspect_ai.scorer import Target
    from inspect_ai.solver import TaskState

    asked = sample.input
    return TaskState(
        model=ModelName("none/none"),
        sample_id=str(sample.id),
        epoch=1,
        input=asked,
        messages=(
            [ChatMessageUser(content=asked)]
            if isinstance(asked, str)
            # Solvers change messages in place.
            else [message.model_copy(deep=True) for message in asked]
        ),
        target=Target(sample.target),
        choices=sample.choices,
        metadata=dict(sample.metadata or {}),
    )


def no_model() -> AbstractContextManager[None]:
    """Upstream's solver asks which model is being evaluated; here there is none.

    Several blocks may run at the same time, in one thread or in several.
    """
    return _no_model.block()


@contextmanager
def _none_named() -> Iterator[None]:
    before = os.environ.get(_MODEL)
    os.environ[_MODEL] = "none/none"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_MODEL]
        else:
            os.environ[_MODEL] = before


_no_model = WhileNeeded(_none_named)
