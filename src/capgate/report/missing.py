"""Why questions have no answer: one entry for each distinct fault, the commonest first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from capgate.common.answers import Answer, AnswerState
from capgate.common.text import one_line, printable
from capgate.report.result import Fault, Report, Result

_KEPT: Final = 20
_SHOWN: Final = 4
"""Faults of a target that are shown; the report's data has more."""

_CHARACTERS: Final = 1_000
_FIGURES: Final = re.compile(r"\b[0-9a-f-]{16,}\b|\d+", re.IGNORECASE)
"""What differs from request to request in the words of one and the same fault: counts and ids."""


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
    found: dict[str, list[str]] = {}
    for answer in answers:
        if answer.state is AnswerState.ERROR:
            found.setdefault(_gist(answer.text), []).append(answer.text)
    ordered = sorted(found.values(), key=len, reverse=True)
    return tuple(Fault(text=texts[0], times=len(texts)) for texts in ordered[:_KEPT])


def missing_of(report: Report, target: str) -> Iterator[Missing]:
    """What a target and its base lack; nothing of one that answered all.

    Args:
        report: The report.
        target: The target's id.
    """
    told = _gist(" ".join((report.targets[target].verdict or {}).get("reasons", ())))
    for name, result in _sides(report, target):
        untold = [fault for fault in result.faults if _gist(fault.text).rstrip(".") not in told]
        if untold:
            overall = result.overall
            yield Missing(
                name,
                overall.errors,
                overall.questions,
                tuple(untold[:_SHOWN]),
                max(len(untold) - _SHOWN, 0),
            )


def notes_of(report: Report, target: str) -> list[tuple[str, str]]:
    """What a person should know of a target and its base: whose, and the sentence."""
    return [(name, note) for name, result in _sides(report, target) for note in result.notes]


def missing_lines(report: Report, target: str) -> list[str]:
    """The terminal's lines on what a target and its base lack."""
    lines: list[str] = []
    for one in missing_of(report, target):
        lines.append(
            f"no answer to {one.errors:,} of {one.questions:,} questions by {one.target}, because:"
        )
        lines += fault_lines(one.faults)
        if one.more:
            lines.append(f"  … and {one.more} further faults, which report.json lists")
    return [printable(line) for line in lines]


def fault_lines(faults: Iterable[Fault]) -> list[str]:
    """One line for each fault: how often, who was asked where, the words, and the remedy."""
    return [f"  {fault.times:,} × {shown(fault)}" for fault in faults]


def shown(fault: Fault) -> str:
    """A fault as one bounded line."""
    return one_line(fault.text, limit=_CHARACTERS)


def _sides(report: Report, target: str) -> Iterator[tuple[str, Result]]:
    """A target's result and its base's."""
    reference = report.targets[target].reference or {}
    for name in dict.fromkeys((target, str(reference.get("target") or target))):
        if name in report.targets:
            yield name, report.targets[name]


def _gist(text: str) -> str:
    return _FIGURES.sub("#", one_line(text, limit=20_000))
