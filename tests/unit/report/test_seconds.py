"""How long a group took to ask: by its own test, or as its part of a test that asks several."""

from __future__ import annotations

import pytest

from capgate.common.answers import Answer, AnswerState
from capgate.report.data.counting import subject_groups


def answers(group: str, count: int, seconds: float) -> list[Answer]:
    """Answers of a group whose requests took so long each."""
    return [
        Answer(f"{group}-{at}", group, AnswerState.CORRECT, seconds=seconds) for at in range(count)
    ]


def test_what_one_test_asked_is_divided_among_its_groups() -> None:
    """Wall time is divided by the time of the requests."""
    given = [*answers("a", 2, 1.0), *answers("b", 2, 3.0)]
    groups = subject_groups(given, given, {}, wall=4.0)
    assert {name: one.seconds for name, one in groups.items()} == {"a": 1.0, "b": 3.0}


def test_a_group_with_a_test_of_its_own_has_no_part_in_another_ones_time() -> None:
    """Its own time counts, and what is left belongs to the others."""
    given = [*answers("a", 2, 1.0), *answers("b", 2, 3.0), *answers("c", 2, 1.0)]
    shards = {"a": {"usage": {"seconds": 0.5}, "verdict": None}}
    groups = subject_groups(given, given, shards, wall=4.0)
    assert {name: one.seconds for name, one in groups.items()} == pytest.approx(
        {"a": 0.5, "b": 3.0, "c": 1.0}
    )
