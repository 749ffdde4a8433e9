"""Why questions have no answer: one entry for each distinct fault, the commonest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from capgate.common.answers import Answer
from capgate.common.distinct_faults import distinct_faults, fault_gist
from capgate.report.data.result import Fault, Result, Section

_KEPT: Final = 20
_SHOWN: Final = 4
"""Faults of a target that are shown; the report's data has more."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What of a target has no answer, and why.

    Attributes:
        target: Its id.
        errors: Questions without an answer.
        questions: Questions put.
        faults: The commonest faults that its verdict does not tell already.
        more: Further distinct faults.
    """

    target: str
    errors: int
    questions: int
    faults: tuple[Fault, ...]
    more: int


def faults_of(answers: Iterable[Answer]) -> tuple[Fault, ...]:
    """The distinct faults of answers, each in the words of its first, the commonest first."""
    found = distinct_faults(answers)[:_KEPT]
    return tuple(Fault(text=text, times=times) for text, times in found)


def missing_of(section: Section, target: str) -> Iterator[Missing]:
    """What a target and its base lack; nothing of one that answered all.

    Args:
        section: What was found on one benchmark.
        target: The target's id.
    """
    told = fault_gist(" ".join((section.targets[target].verdict or {}).get("reasons", ())))
    for name, result in _sides(section, target):
        untold = [
            fault for fault in result.faults if fault_gist(fault.text).rstrip(".") not in told
        ]
        if untold:
            overall = result.overall
            yield Missing(
                name,
                overall.errors,
                overall.questions,
                tuple(untold[:_SHOWN]),
                max(len(untold) - _SHOWN, 0),
            )


def notes_of(section: Section, target: str) -> list[tuple[str, str]]:
    """What a person should know of a target and its base: whose, and the sentence."""
    return [(name, note) for name, result in _sides(section, target) for note in result.notes]


def _sides(section: Section, target: str) -> Iterator[tuple[str, Result]]:
    """A target's result and its base's."""
    reference = section.targets[target].reference or {}
    for name in dict.fromkeys((target, str(reference.get("target") or target))):
        if name in section.targets:
            yield name, section.targets[name]
