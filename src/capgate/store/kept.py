"""What the store keeps besides answers: questions' texts, and the weights of servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Seen:
    """Weights that a server was seen with.

    Attributes:
        weights: What stands for them, in fingerprints.
        run: The run that saw them first.
        at: When, Unix seconds.
        facts: How they are known again (`serving.observation`).
    """

    weights: str
    run: str
    at: float
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeptQuestion:
    """A question's text, as the store keeps it.

    Attributes:
        hash: Content hash.
        subject: Its group.
        sample: Inspect's id of it.
        text: The question, without few-shot examples.
        choices: Its choices; empty where its answer is free text.
        keys: The right letter or text; several where the task's target is a list.
    """

    hash: str
    subject: str
    sample: str
    text: str
    choices: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def key(self) -> str:
        """The right answer for people: several, such as alternatives, in one text."""
        return " | ".join(self.keys)
