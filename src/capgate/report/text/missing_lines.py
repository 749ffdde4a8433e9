"""Why questions have no answer, in lines for people."""

from __future__ import annotations

from collections.abc import Iterable

from capgate.common.distinct_faults import fault_line
from capgate.common.text import printable
from capgate.report.data.missing import missing_of
from capgate.report.data.result import Fault, Section


def missing_lines(section: Section, target: str) -> list[str]:
    """The terminal's lines on what a target and its base lack."""
    lines: list[str] = []
    for one in missing_of(section, target):
        lines.append(
            f"no answer to {one.errors:,} of {one.questions:,} questions by {one.target}, because:"
        )
        lines += fault_lines(one.faults)
        if one.more:
            lines.append(f"  … and {one.more} further faults, which report.json lists")
    return [printable(line) for line in lines]


def fault_lines(faults: Iterable[Fault]) -> list[str]:
    """One line for each fault: how often, which server at which URL, its words, and the remedy."""
    return [f"  {fault.times:,} × {shown(fault)}" for fault in faults]


def shown(fault: Fault) -> str:
    """A fault as one bounded line."""
    return fault_line(fault.text)
