"""Things are put together by what they have in common."""

from __future__ import annotations

from typing import NamedTuple

from capgate.common.grouping import by_subject, grouped


class Row(NamedTuple):
    """A row of a subject."""

    subject: str
    number: int


def test_groups_and_what_is_in_them_keep_their_order() -> None:
    """A group stands where its first item stood, and its items follow each other as given."""
    rows = [Row("virology", 1), Row("anatomy", 2), Row("virology", 3)]
    groups = by_subject(rows)
    assert list(groups) == ["virology", "anatomy"]
    assert groups["virology"] == [rows[0], rows[2]]


def test_any_key_groups() -> None:
    """Items with equal keys are together, of whichever kind the key is."""
    assert grouped(range(5), lambda n: n % 2) == {0: [0, 2, 4], 1: [1, 3]}
