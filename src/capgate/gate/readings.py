"""The ways of reading answers where some are missing or the reference was asked twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from capgate.common.answers import AnswerState
from capgate.gate.rows import Pair, Single

_Row = TypeVar("_Row", Pair, Single)


def readings(rows: Sequence[_Row]) -> list[Sequence[_Row]]:
    """Returns the ways of reading the answers; a verdict stands where all agree on it.

    Where answers are missing there are two, one with every missing answer in the candidate's
    favour and one with every one against it: so a verdict can't depend on which questions ended
    in an error. Where the reference was asked twice each of its looks is read by itself: so no
    verdict rests on the luck of one look.

    Returns:
        The rows themselves where nothing is missing, else one list for each reading.
    """
    looks: list[Sequence[_Row]] = [rows]
    if any(isinstance(row, Pair) and row.reference_again is not None for row in rows):
        looks.append([second_look(row) for row in rows])
    found: list[Sequence[_Row]] = []
    for look in looks:
        if any(AnswerState.ERROR in row.states for row in look):
            found += [[settle(row, against=against) for row in look] for against in (False, True)]
        else:
            found.append(look)
    return found


def second_look(row: _Row) -> _Row:
    """Returns a row with the reference's second look in place of its first, where there is one."""
    if isinstance(row, Pair) and row.reference_again is not None:
        return row._replace(reference=row.reference_again)
    return row


def settle(row: _Row, *, against: bool) -> _Row:
    """Returns a row with its missing answers filled in for or against the candidate.

    An unreadable answer is the worst that a side can give: it is not correct, and it counts as
    unparsed as well.
    """
    best, worst, missing = AnswerState.CORRECT, AnswerState.UNPARSED, AnswerState.ERROR
    filled = row
    if row.candidate is missing:
        filled = filled._replace(candidate=worst if against else best)
    if isinstance(filled, Pair) and filled.reference is missing:
        filled = filled._replace(reference=best if against else worst)
    return filled


def code_row(row: Pair | Single) -> tuple[int, int, int]:
    """Returns a row as the race takes it: value, rise of unparsed answers, whether scored.

    Where an answer is missing, value and rise say what it leaves possible: 1 for "0 or 1",
    −1 for "−1 or 0", 0 for all three.
    """
    if isinstance(row, Single):
        return int(row.candidate is not AnswerState.CORRECT), 0, int(row.candidate.scored)
    if row.reference.scored and row.candidate.scored:
        return *_value_and_rise(row), 1
    least, most = (_value_and_rise(settle(row, against=side)) for side in (False, True))
    return least[0] + most[0], least[1] + most[1], 0


def _value_and_rise(row: Pair) -> tuple[int, int]:
    correct, unparsed = AnswerState.CORRECT, AnswerState.UNPARSED
    value = (row.reference is correct) - (row.candidate is correct)
    return value, (row.candidate is unparsed) - (row.reference is unparsed)
