"""Two sides of a log are paired by content alone, and only what was asked alike is judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.common.answers import AnswerState
from capgate.common.errors import ReferenceMissingError
from capgate.logs.logged import LoggedBenchmark, LoggedSample, LogLine, TaskLog, digest
from capgate.logs.pairing import pair_sides
from capgate.logs.side import Side, read_side

STATES = st.sampled_from(AnswerState)
LOGS = st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 1), st.integers(0, 1), STATES))


class Written(TaskLog):
    """A log that holds what a test says."""

    tool, task, model, metric = "a harness", "task", "m", "acc"
    path = Path("log")
    conditions: dict[str, object] = {}  # noqa: RUF012
    facts: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, samples: list[LoggedSample], unfinished: str, lacking: int) -> None:
        self.samples = samples
        self.expected = len(samples) + lacking
        self.unfinished = unfinished

    def lines(self) -> Iterator[LogLine]:
        """The samples."""
        yield from self.samples


def side(
    log: dict[int, tuple[int, int, AnswerState]],
    order: int = 1,
    unfinished: str = "",
    lacking: int = 0,
) -> Side:
    """A side whose questions have a prompt, a key and an answer each."""
    samples = [
        LoggedSample(f"line {q}", digest(q), str(key), state, prompt=str(prompt))
        for q, (prompt, key, state) in log.items()
    ][::order]
    return read_side(LoggedBenchmark("task", {"": Written(samples, unfinished, lacking)}))


@given(LOGS, LOGS)
def test_what_was_asked_alike_is_judged_and_nothing_else(
    reference: dict[int, tuple[int, int, AnswerState]],
    candidate: dict[int, tuple[int, int, AnswerState]],
) -> None:
    """Which questions are judged follows from questions, prompts and keys, in any order."""
    if not reference or not candidate:
        return
    alike = {q for q in reference if q in candidate and reference[q][:2] == candidate[q][:2]}
    sides = side(reference), side(candidate, order=-1)
    same = alike == {*reference, *candidate}
    if not same or len(alike) < 2:
        with pytest.raises(ReferenceMissingError):
            pair_sides(*sides, common=False)
    if len(alike) < 2:
        with pytest.raises(ReferenceMissingError):
            pair_sides(*sides, common=True)
        return
    paired = pair_sides(*sides, common=True)
    found = sorted(pair.states for pair in paired.pairs)
    assert found == sorted((reference[q][2], candidate[q][2]) for q in alike)
    assert bool(paired.left_out) is not same
    if same:
        assert pair_sides(*sides, common=False).pairs == paired.pairs


@given(LOGS, st.integers(1, 5))
def test_what_a_broken_run_lacks_is_an_error(
    log: dict[int, tuple[int, int, AnswerState]], lacking: int
) -> None:
    """A question that a broken run did not reach counts against what would be concluded."""
    if len(log) < lacking + 1:
        return
    part = dict(list(log.items())[lacking:])
    paired = pair_sides(side(log), side(part, 1, "its run broke off", lacking), common=False)
    assert len(paired.pairs) == len(log)
    missing = [pair for pair in paired.pairs if pair.candidate is AnswerState.ERROR]
    assert len(missing) >= lacking
    assert "its run broke off" in " ".join(paired.notes)


@given(LOGS, st.integers(1, 5))
def test_what_neither_run_reached_is_an_error(
    log: dict[int, tuple[int, int, AnswerState]], lacking: int
) -> None:
    """Two runs that broke off at one place do not agree on what neither was asked."""
    if not log:
        return
    sides = [side(log, 1, "its run broke off", lacking) for _ in range(2)]
    pairs = pair_sides(*sides, common=False).pairs
    assert len(pairs) == len(log) + lacking
    assert [pair.states for pair in pairs[len(log) :]] == [(AnswerState.ERROR,) * 2] * lacking
