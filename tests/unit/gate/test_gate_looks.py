"""A reference that was asked twice: no verdict rests on the luck of one look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capgate.common.answers import AnswerState as State
from capgate.gate import Budget, Pair, Policy, SequentialGate, Verdict, decide_fixed, judge_subject
from capgate.gate.orders import BATCH
from capgate.gate.race import Outcome, Race
from capgate.gate.readings import second_look
from capgate.gate.scale import Scale

C, W, E = State.CORRECT, State.WRONG, State.ERROR
ALL_POOLED = Budget(total=0.05, pooled=0.05, subjects=0.0, unparsed=0.0)
WIDE = Policy(catch=0.2, max_error_rate=0.5, max_unparsed=0.9, reason="few questions")


def quick(rows: list[Pair]) -> Verdict:
    """Judges the rows in their order."""
    gate = SequentialGate(WIDE, population=len(rows), reference="baseline")
    for start in range(0, len(rows), 16):
        if gate.update(rows[start : start + 16]):
            break
    return gate.finish("nothing is left")


def alone(rows: list[Pair]) -> Verdict:
    """Judges the rows as one subject."""
    return judge_subject(rows, WIDE, n_subjects=1)


def whole(rows: list[Pair]) -> Verdict:
    """Judges all rows together."""
    return decide_fixed(rows, WIDE)


@pytest.mark.parametrize("judge", [whole, quick, alone])
def test_a_verdict_holds_by_each_look(judge: Callable[[list[Pair]], Verdict]) -> None:
    """PASS and REGRESSION are so by the first look alone, and by the second alone."""
    seen: set[str] = set()

    @settings(max_examples=120, deadline=None, database=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.3]), st.booleans())
    def check(seed: int, noise: float, lacking: bool) -> None:
        luck = np.random.default_rng(seed)
        loss = luck.choice([0.0, 0.1, 0.4])
        rows: list[Pair] = []
        for at in range(150):
            first = C if luck.random() < 0.7 else W
            flips = luck.random() < noise
            again = (W if first is C else C) if flips else first
            own = W if luck.random() < loss else first
            if lacking and luck.random() < 0.02:
                own = E
            rows.append(Pair(str(at), "anatomy", first, own, reference_again=again))
        kind = judge(rows).kind
        seen.add(kind)
        if kind not in {"INCONCLUSIVE", "too few to tell"}:
            once = [row._replace(reference_again=None) for row in rows]
            other = [second_look(row)._replace(reference_again=None) for row in rows]
            assert judge(once).kind == judge(other).kind == kind

    check()
    assert seen >= ({"kept", "lost"} if judge is alone else {"PASS", "REGRESSION"})
    assert seen & {"INCONCLUSIVE", "too few to tell"}


def test_a_lucky_look_alone_fails_nobody() -> None:
    """What the baseline had right by luck, and wrong when asked again, is no loss."""
    same = [Pair(f"s{i}", "anatomy", C, C) for i in range(1900)]
    lucky = [Pair(f"l{i}", "anatomy", C, W) for i in range(60)]
    assert decide_fixed([*same, *lucky], Policy()).kind == "REGRESSION"
    twice = [row._replace(reference_again=W) for row in lucky]
    verdict = decide_fixed([*same, *twice], Policy())
    assert verdict.kind == "INCONCLUSIVE"
    assert "asked twice, and its two looks give different verdicts" in verdict.reasons[0]


def test_two_looks_that_agree_change_nothing() -> None:
    """On a server whose answers don't vary a second look costs nothing."""
    rows = [Pair(f"s{i}", "anatomy", C, W if i < 12 else C) for i in range(1500)]
    twice = [row._replace(reference_again=row.reference) for row in rows]
    assert decide_fixed(rows, Policy()) == decide_fixed(twice, Policy())
    assert quick(rows) == quick(twice)


def test_a_second_look_takes_luck_out_of_the_quick_rule() -> None:
    """Against a baseline lucky by two standard deviations, far fewer unchanged models fail."""
    n, orders, coins = 2000, 300, 400
    luck = np.random.default_rng(3)
    first = np.zeros(n)
    first[: coins // 2 + 20] = 1.0
    again = np.zeros(n)
    again[:coins] = luck.permutation(np.repeat([1.0, 0.0], coins // 2))
    failed = []
    for looks in (1, 2):
        race = Race(Scale.paired(), Policy(), ALL_POOLED, population=n, orders=orders)
        order = luck.permuted(np.tile(np.arange(n), (orders, 1)), axis=1)
        own = np.where(order < coins, luck.random((orders, n)) < 0.5, 0.0)
        for start in range(0, n, BATCH):
            if not len(race.running):
                break
            part = order[race.running, start : start + BATCH]
            mine = own[race.running, start : start + BATCH]
            rises = np.zeros(part.shape)
            other = (again[part] - mine, rises) if looks == 2 else None
            race.update(first[part] - mine, rises, np.ones(part.shape, dtype=bool), other)
        failed.append(float(np.mean(race.outcome == Outcome.HARM)))
    assert failed[0] > 0.1
    assert failed[1] < 0.05
