"""What a target's contradictions amount to: flips, and false alarms of the gate on them."""

from __future__ import annotations

import numpy as np
import pytest

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, SUBJECTS
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError
from capgate.gate.calibration import calibrate
from capgate.gate.policy import Policy

C, W, U, E = AnswerState.CORRECT, AnswerState.WRONG, AnswerState.UNPARSED, AnswerState.ERROR


def look(states: list[AnswerState], choices: str = "") -> list[Answer]:
    """One look at a target."""
    return [
        Answer(f"q{i}", SUBJECTS[i % 5], state, (choices or "A" * len(states))[i])
        for i, state in enumerate(states)
    ]


def test_flips_are_counted_both_ways() -> None:
    """Changes of letter, of correctness and errors are told apart; unread ones are no change."""
    first = look([C, C, W, W, E, U], "AAAAAA")
    second = look([C, W, C, W, C, U], "ABABAA")
    found = calibrate(
        first,
        second,
        Policy(max_unparsed=0.2, reason="few"),
        population=6,
        simulations=10,
        seed=1,
        domains=DOMAIN_OF,
    )
    assert (found.n, found.errors) == (5, 1)
    assert (found.changed.count, found.flips.count, found.losses) == (3, 2, 1)
    assert found.flips.interval.low < 0.4 < found.flips.interval.high
    assert (found.accuracy_first, found.accuracy_second) == (0.4, 0.4)


def test_unreadable_answers_are_no_steadiness() -> None:
    """A target of which nothing can be read is not called steady."""
    with pytest.raises(ConfigError, match=r"5 of 5 answers of the first look are unreadable"):
        calibrate(
            look([U] * 5),
            look([U] * 5),
            Policy(),
            population=5,
            simulations=10,
            seed=1,
            domains=DOMAIN_OF,
        )


def test_a_steady_target_never_fails() -> None:
    """Without flips there is nothing that could be a false alarm."""
    steady = look([C] * 700 + [W] * 300)
    found = calibrate(
        steady,
        steady,
        Policy(),
        population=1000,
        simulations=50,
        seed=1,
        domains=DOMAIN_OF,
    )
    assert (found.changed.count, found.whole.count, found.quick.count) == (0, 0, 0)
    assert found.holds


def test_the_false_alarms_of_a_wavering_target_are_within_the_promise() -> None:
    """3 % of 3,000 answers flip, all to the worse: luck of one look, and no alarm of many."""
    rng = np.random.default_rng(3)
    flips = rng.random(3000) < 0.03
    first = look([C] * 3000)
    second = look([W if flip else C for flip in flips])
    found = calibrate(
        first,
        second,
        Policy(),
        population=14_042,
        simulations=150,
        seed=1,
        domains=DOMAIN_OF,
    )
    assert found.losses == found.flips.count == int(flips.sum())
    assert found.holds
    assert found.whole.share <= 0.05
    assert found.quick.share <= 0.08
    assert found.quick_questions < 3000


def test_two_looks_without_an_answer_are_an_error() -> None:
    """Nothing can be said of a target that did not answer."""
    with pytest.raises(ConfigError, match="no question was answered both times"):
        calibrate(
            look([E]),
            look([C]),
            Policy(),
            population=1,
            simulations=10,
            seed=1,
            domains=DOMAIN_OF,
        )
