"""What an answer is: the single source of truth for its states.

The writer of a row (the evaluation), its keeper (the store) and its judges (gate and
reports) all import this module, so no two of them can differ about what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol


class AnswerState(StrEnum):
    """How a question put to a target ended; exactly one for each question."""

    CORRECT = "correct"
    """The choice that was read is the key."""
    WRONG = "wrong"
    """A choice was read and it is not the key."""
    UNPARSED = "unparsed"
    """The server answered, but no choice could be read from its text."""
    ERROR = "error"
    """No answer came (refused, timed out, 5xx, context too long …); never scored."""

    @property
    def scored(self) -> bool:
        """Whether the state belongs in an accuracy's denominator."""
        return self is not AnswerState.ERROR

    @property
    def readable(self) -> bool:
        """Whether a choice was read; only such an answer tells what the model knows."""
        return self in (AnswerState.CORRECT, AnswerState.WRONG)


@dataclass(frozen=True, slots=True)
class Answer:
    """One question's answer by one target.

    Attributes:
        question: Content hash of the question (text, choices, key, few-shot examples).
        subject: One of the 57 subjects.
        state: How it ended.
        choice: The letter, or in one short line the answer, that was read; `""` where none was.
        text: The model's text without its thought, or for an error the fault's one paragraph.
        prompt_tokens: Tokens the server counted in the prompt; 0 where it did not say.
        completion_tokens: Tokens the server counted in the answer.
        seconds: Wall time of the successful request, without queueing and backing off.
        margin: Natural-log odds between the best and second-best choice letter, where
            log-probabilities were asked for and both letters were among them.
        served_by: What the server says answered (model, upstream provider), for routes
            that may change between requests.
        cost: US dollars, where the server says.
        finish_reason: Why the model stopped, in the server's own word; `""` where it gave none.
        cut_off: Whether the token limit ended the answer.
        reasoning_tokens: Tokens of the thought, where the server counts them apart.
        endpoint: Which of the target's endpoints answered, such as `gpu1:8000`; `""` where the
            target has one.
    """

    question: str
    subject: str
    state: AnswerState
    choice: str = ""
    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    margin: float | None = None
    served_by: str = ""
    cost: float | None = None
    finish_reason: str = ""
    cut_off: bool = False
    reasoning_tokens: int = 0
    endpoint: str = ""


class HasForm(Protocol):
    """What tells whether an answer has the form that the task asks for."""

    @property
    def state(self) -> AnswerState:
        """How it was scored."""

    @property
    def cut_off(self) -> bool:
        """Whether it went on to the token limit."""


FORMLESS: Final = (AnswerState.UNPARSED, AnswerState.WRONG)
"""States of answers that may have failed in their form."""


def is_formless(one: HasForm) -> bool:
    """Whether an answer failed in its form: unreadable, or wrong and cut off."""
    return one.state is AnswerState.UNPARSED or (one.state is AnswerState.WRONG and one.cut_off)
