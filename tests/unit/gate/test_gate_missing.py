"""Missing answers: a verdict stands only where no way of answering them would give another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from capgate.common.answers import AnswerState as State
from capgate.gate import (
    Budget,
    Floor,
    Pair,
    Policy,
    SequentialGate,
    Single,
    Verdict,
    decide_fixed,
    decide_floor,
    judge_subject,
    judge_subject_floor,
)
from capgate.gate.orders import run_orders
from capgate.gate.race import Outcome, fill_in
from capgate.gate.readings import code_row, settle
from capgate.gate.scale import Scale

ALL_POOLED = Budget(total=0.05, pooled=0.05, subjects=0.0, unparsed=0.0)
C, W, U, E = State.CORRECT, State.WRONG, State.UNPARSED, State.ERROR

WIDE = Policy(
    catch=0.2,
    max_error_rate=0.5,
    max_unparsed=0.9,
    max_unparsed_increase=0.05,
    reason="few questions",
)
"""A policy by which some hundred questions decide, whatever is missing."""

KINDS = [(C, C), (W, W), (C, W), (W, C), (C, U), (U, C), (U, U), (W, U), (U, W)]
MISSING = [(C, E), (W, E), (U, E), (E, C), (E, W), (E, U), (E, E)]


def pairs_of(counts: list[int], kinds: list[tuple[State, State]], subject: str) -> list[Pair]:
    """Returns as many pairs of each kind."""
    states = [both for both, count in zip(kinds, counts, strict=True) for _ in range(count)]
    return [Pair(f"{subject}-{kinds[0]}-{i}", subject, *both) for i, both in enumerate(states)]


def filled(rows: list[Pair], luck: np.random.Generator) -> list[Pair]:
    """Returns the rows with each missing answer had after all."""

    def had(state: State) -> State:
        return (C, W, U)[luck.integers(3)] if state is E else state

    return [
        row._replace(reference=had(row.reference), candidate=had(row.candidate)) for row in rows
    ]


def quick(rows: list[Pair]) -> Verdict:
    """Judges the rows in their order."""
    gate = SequentialGate(WIDE, population=len(rows))
    for start in range(0, len(rows), 16):
        if gate.update(rows[start : start + 16]):
            break
    return gate.finish("nothing is left")


def alone(rows: list[Pair]) -> Verdict:
    """Judges one subject by itself."""
    own = [row for row in rows if row.subject == "anatomy"]
    return judge_subject(own, WIDE, n_subjects=2)


def against_floor(rows: list[Pair]) -> Verdict:
    """Judges the candidate's answers against a floor."""
    singles = [Single(row.question, row.subject, row.candidate) for row in rows]
    return decide_floor(singles, Floor(0.6), WIDE)


def subject_against_floor(rows: list[Pair]) -> Verdict:
    """Judges one subject against its floor."""
    singles = [Single(r.question, r.subject, r.candidate) for r in rows if r.subject == "anatomy"]
    return judge_subject_floor(singles, Floor(0.6), WIDE, n_subjects=2)


def whole(rows: list[Pair]) -> Verdict:
    """Judges all rows together."""
    return decide_fixed(rows, WIDE)


few = st.lists(st.sampled_from([0, 0, 1, 2, 4]), min_size=len(MISSING), max_size=len(MISSING))
many = st.lists(st.sampled_from([0, 1, 5, 20]), min_size=len(KINDS) - 1, max_size=len(KINDS) - 1)


@pytest.mark.parametrize(
    "judge",
    [
        whole,
        pytest.param(quick, marks=pytest.mark.slow),
        alone,
        against_floor,
        subject_against_floor,
    ],
)
def test_no_verdict_hinges_on_missing_answers(judge: Callable[[list[Pair]], Verdict]) -> None:
    """A conclusion with answers missing is the same however those could have been answered."""
    seen: set[str] = set()

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(st.sampled_from([30, 100]), many, many, few, few, st.integers(0, 2**32 - 1))
    def check(
        same: int, some: list[int], others: list[int], lack: list[int], more: list[int], seed: int
    ) -> None:
        luck = np.random.default_rng(seed)
        rows = [
            *pairs_of([same, *some], KINDS, "anatomy"),
            *pairs_of(lack, MISSING, "anatomy"),
            *pairs_of([same, *others], KINDS, "virology"),
            *pairs_of(more, MISSING, "virology"),
        ]
        rows = [rows[at] for at in luck.permutation(len(rows))]
        kind = judge(rows).kind
        seen.add(kind)
        if kind == "INCONCLUSIVE":
            return
        # A group whose answers, missing ones filled in, prove nothing makes no claim to break.
        may = {kind, "kept"} if kind == "too few to tell" else {kind}
        ends = [[settle(row, against=side) for row in rows] for side in (False, True)]
        for full in (*ends, filled(rows, luck), filled(rows, luck)):
            assert judge(full).kind in may

    check()
    assert {"PASS", "REGRESSION"} <= seen or {"kept", "too few to tell", "lost"} <= seen


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(st.sampled_from([*KINDS, *MISSING]), min_size=1, max_size=40))
@example([*KINDS, *MISSING])
def test_the_code_of_a_missing_answer_spans_what_it_could_have_been(
    states: list[tuple[State, State]],
) -> None:
    """Both ends of what a missing answer leaves possible are those of the rows filled in."""
    rows = [Pair(str(i), "anatomy", *both) for i, both in enumerate(states)]
    coded = np.array([code_row(row) for row in rows], dtype=float).T
    for against in (False, True):
        ends = [code_row(settle(row, against=against)) for row in rows]
        for line in (0, 1):
            found = fill_in(coded[line], coded[2] > 0, against=against)
            assert found.tolist() == [end[line] for end in ends]


def fill(n: int, *, lost: int, gained: int, missing: list[tuple[State, State]]) -> list[Pair]:
    """Returns a benchmark of n questions."""
    states = [(C, W)] * lost + [(W, C)] * gained + missing
    states += [(C, C)] * (n - len(states))
    return [Pair(f"q{i}", "anatomy", *both) for i, both in enumerate(states)]


@pytest.mark.parametrize(
    ("missing", "kind"),
    [
        ([], "PASS"),
        ([(C, E)] * 20, "INCONCLUSIVE"),
        ([(E, W)] * 20, "INCONCLUSIVE"),
        ([(E, E)] * 20, "INCONCLUSIVE"),
        # Neither can have been a loss.
        ([(W, E)] * 20, "PASS"),
        ([(E, C)] * 20, "PASS"),
    ],
)
def test_losses_can_not_hide_in_missing_answers(
    missing: list[tuple[State, State]], kind: str
) -> None:
    """The longest questions fail on the candidate alone: what they may have lost counts."""
    verdict = decide_fixed(fill(4000, lost=128, gained=100, missing=missing), Policy())
    assert verdict.kind == kind
    if kind == "INCONCLUSIVE":
        assert "missing to 20 questions could decide" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("missing", "kind"),
    [
        ([], "REGRESSION"),
        ([(W, E)] * 20, "INCONCLUSIVE"),
        ([(E, C)] * 20, "INCONCLUSIVE"),
        ([(E, E)] * 20, "INCONCLUSIVE"),
        # Neither can have been a gain.
        ([(C, E)] * 20, "REGRESSION"),
        ([(E, W)] * 20, "REGRESSION"),
    ],
)
def test_gains_can_not_hide_in_missing_answers(
    missing: list[tuple[State, State]], kind: str
) -> None:
    """Where the reference alone failed to answer, what may have been gained counts."""
    verdict = decide_fixed(fill(4000, lost=138, gained=100, missing=missing), Policy())
    assert verdict.kind == kind


def test_a_subject_that_has_no_answer_leaves_the_others_shares_alone() -> None:
    """A subject of which everything is missing still counts among those that are judged."""
    lost = fill(100, lost=11, gained=0, missing=[])
    gone = [Pair(f"g{i}", "virology", E, E) for i in range(3)]
    policy = Policy(false_alarm=0.004, max_error_rate=0.5, reason="at the edge")
    assert [one.p_holm for one in decide_fixed(lost, policy).subjects] == [0.5**11]
    found = decide_fixed([*lost, *gone], policy).subjects
    assert [(one.name, one.p_holm) for one in found] == [("anatomy", 0.5**10)]


def test_the_interval_covers_what_missing_answers_leave_possible() -> None:
    """The interval of the drop gets wider by what is missing, to both sides."""
    whole = decide_fixed(fill(4000, lost=60, gained=60, missing=[]), Policy()).interval
    lacking = fill(4000, lost=60, gained=60, missing=[(E, E)] * 18)
    wider = decide_fixed(lacking, Policy()).interval
    assert whole is not None
    assert wider is not None
    assert wider.low < whole.low - 0.003
    assert wider.high > whole.high + 0.003


@pytest.mark.parametrize(
    ("drop", "missing", "wrong"), [(0.02, 1, Outcome.HARMLESS), (0.0, -1, Outcome.HARM)]
)
def test_missing_answers_that_depend_on_the_outcome_keep_the_error_rates(
    drop: float, missing: int, wrong: Outcome
) -> None:
    """With 0.45 % of the answers missing, all of them losses (or gains), 5 % stay 5 %."""
    n = 5000
    rows = np.zeros((3, n), dtype=np.int8)
    lost, gained = round(n * (0.05 + drop / 2)), round(n * (0.05 - drop / 2))
    rows[0, :lost], rows[0, lost : lost + gained], rows[2] = 1, -1, 1
    away = np.flatnonzero(rows[0] == missing)[: round(0.0045 * n)]
    rows[2, away] = 0
    found = run_orders(Scale.paired(), Policy(), ALL_POOLED, rows, orders=300, seed=4)
    assert found.outcomes.get(wrong, 0.0) <= 0.05 + 2.5 * (0.05 * 0.95 / 300) ** 0.5
