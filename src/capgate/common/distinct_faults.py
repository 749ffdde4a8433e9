"""The distinct faults of answers: one entry for each, the commonest first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from capgate.common.answers import Answer, AnswerState
from capgate.common.text import one_line

_CHARACTERS: Final = 1_000
_FIGURES: Final = re.compile(r"\b[0-9a-f-]{16,}\b|\d+", re.IGNORECASE)
"""What differs from request to request in the words of one and the same fault: counts and ids."""


def distinct_faults(answers: Iterable[Answer]) -> list[tuple[str, int]]:
    """Returns each distinct fault in the words of its first answer, and how many answers have it.

    The commonest stands first. Two faults are the same where their words differ in figures alone.
    """
    found: dict[str, list[str]] = {}
    for answer in answers:
        if answer.state is AnswerState.ERROR:
            found.setdefault(fault_gist(answer.text), []).append(answer.text)
    ordered = sorted(found.values(), key=len, reverse=True)
    return [(texts[0], len(texts)) for texts in ordered]


def fault_gist(text: str) -> str:
    """Returns the words of a fault without its figures."""
    return _FIGURES.sub("#", one_line(text, limit=20_000))


def fault_line(text: str) -> str:
    """Returns the words of a fault as one line of at most 1,000 characters."""
    return one_line(text, limit=_CHARACTERS)
