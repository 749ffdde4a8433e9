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
        subject: Its subject.
        sample: Inspect's id of it.
        text: The question, without few-shot examples.
        choices: Its choices.
        key: The right letter.
    """

    hash: str
    subject: str
    sample: str
    text: str
    choices: tuple[str, ...]
    key: str
