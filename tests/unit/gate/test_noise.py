"""What a remedy does to a target's contradictions, and what flips add to a discordance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError
from capgate.gate.noise import compare_noise, with_flips, without_flips

SHARES = st.floats(0.0, 1.0)


def look(choices: str) -> list[Answer]:
    """One look: a letter for each question, `-` where there is no answer."""
    return [
        Answer(
            f"q{at}",
            "anatomy",
            AnswerState.ERROR
            if letter == "-"
            else AnswerState.CORRECT
            if letter == "A"
            else AnswerState.WRONG,
            letter,
        )
        for at, letter in enumerate(choices)
    ]


def test_questions_are_paired() -> None:
    """A question counts where all four looks have an answer, and once in each pair of looks."""
    found = compare_noise((look("AABB-A"), look("ABBCAA")), (look("AAAAAA"), look("AAABAA")))
    assert found.n == 5
    assert (found.before.count, found.after.count) == (2, 1)
    assert (found.only_before, found.only_after) == (1, 0)


@pytest.mark.parametrize(
    ("before", "after", "outcome", "removed"),
    [
        (10, 0, "helps", 1.0),
        (5, 0, "helps", 1.0),
        (4, 0, "too few to tell", 1.0),
        (10, 10, "does not help", 0.0),
        (10, 12, "does not help", 0.0),
        (10, 7, "too few to tell", 0.3),
        (0, 0, "too few to tell", None),
    ],
)
def test_what_is_concluded(before: int, after: int, outcome: str, removed: float | None) -> None:
    """It helps only where chance would not explain the difference."""
    steady = look("A" * 40)

    def second(changed: int) -> list[Answer]:
        return look("B" * changed + "A" * (40 - changed))

    found = compare_noise((steady, second(before)), (steady, second(after)))
    assert found.outcome == outcome
    assert found.removed == (None if removed is None else pytest.approx(removed))


def test_nothing_was_answered() -> None:
    """Without a question that all four looks answered there is nothing to compare."""
    with pytest.raises(ConfigError, match="no question was answered in all four looks"):
        compare_noise((look("AA"), look("--")), (look("AA"), look("AA")))


@given(SHARES, st.floats(0.0, 0.4))
def test_flips_are_taken_out_as_they_are_put_in(discordance: float, flips: float) -> None:
    """Discordance with flips, less the flips, is the discordance."""
    seen = with_flips(discordance, flips)
    assert 0.0 <= seen <= 1.0
    assert without_flips(seen, flips) == pytest.approx(discordance, abs=1e-9)


@given(SHARES, SHARES)
def test_what_is_left_is_a_share(seen: float, flips: float) -> None:
    """What is left without flips lies from 0 to 1."""
    assert 0.0 <= without_flips(seen, flips) <= 1.0
