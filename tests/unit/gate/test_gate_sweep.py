"""Which of many adapters lost capability, at a bounded false discovery rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gate.suites import GAINED, LOST, MISSING, SAME, UNREAD

from capgate.common.answers import AnswerState as State
from capgate.gate import Part, Policy, SequentialGate, Verdict, benchmark_budget
from capgate.gate.rows import Pair
from capgate.gate.sweep import (
    NO_EVIDENCE,
    e_bh,
    evidence,
    needed_evidence,
    total,
)

LOGS = st.floats(-6.0, 6.0)
MANY = st.lists(LOGS, min_size=1, max_size=30)
LEVELS = st.sampled_from([0.01, 0.05, 0.2])
BOTH = tuple[State, State]


def quick(
    answers: Sequence[BOTH], *, adapters: int = 20, benchmarks: int = 1, population: int = 5000
) -> Verdict:
    """The quick verdict of one adapter of a sweep on one benchmark."""
    policy = Policy().for_sweep(adapters)
    budget = benchmark_budget(policy, benchmarks, quick=True)
    gate = SequentialGate(policy, population=population, budget=budget)
    rows = [Pair(f"q{i}", "s", *both) for i, both in enumerate(answers)]
    for start in range(0, len(rows), 50):
        if gate.update(rows[start : start + 50]) is not None:
            break
    return gate.finish("a test ended it")


def spread(
    n: int, *, lost: int = 0, gained: int = 0, other: int = 0, as_: BOTH = SAME
) -> list[BOTH]:
    """`n` questions of which so many are lost, gained or something else, spread evenly."""
    kinds = [LOST] * lost + [GAINED] * gained + [as_] * other
    kinds += [SAME] * (n - len(kinds))
    return [kinds[at] for at in np.random.default_rng(7).permutation(n)]


@given(MANY, LEVELS)
def test_it_rejects_as_many_as_suffice_together(logs: list[float], level: float) -> None:
    """The k rejected ones each have an e-value of K / (level · k), and no larger k has that."""
    found, n = e_bh(logs, level), len(logs)
    k = sum(found.lost)
    if k:
        least = min(log for log, lost in zip(logs, found.lost, strict=True) if lost)
        assert least == sorted(logs)[-k]
        assert 10**least >= n / (level * k) * (1 - 1e-6)
    for more in range(k + 1, n + 1):
        assert 10 ** sorted(logs)[-more] < n / (level * more) * (1 + 1e-6)
    assert found.needed == needed_evidence(n, level, k)


@given(st.data(), LEVELS)
def test_the_false_discovery_rate_is_kept_under_any_dependence(
    data: st.DataObject, level: float
) -> None:
    """However the e-values of unchanged adapters depend on all others, the rate is at most K0/K."""
    n = data.draw(st.integers(1, 8), label="adapters")
    outcomes = data.draw(st.integers(1, 12), label="outcomes")
    null = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n), label="unchanged"))
    parts = st.lists(st.floats(0.01, 1.0), min_size=outcomes, max_size=outcomes)
    chances = np.array(data.draw(parts, label="chances"))
    chances /= chances.sum()
    # Values near those that suffice are the ones that could break it.
    edges = [0.0, *(n / (level * k) for k in range(1, n + 1))]
    row = st.lists(st.sampled_from(edges), min_size=outcomes, max_size=outcomes)
    values = np.array([data.draw(row) for _ in range(n)])
    means = values @ chances
    values[null] /= np.maximum(means, 1.0)[null, None]
    rate = 0.0
    for chance, found in zip(chances, np.log10(np.maximum(values, 1e-300)).T, strict=True):
        lost = np.array(e_bh(list(found), level).lost)
        rate += chance * (lost & null).sum() / max(lost.sum(), 1)
    assert rate <= level * null.sum() / n * (1 + 1e-6)


@given(MANY, LEVELS, st.data())
def test_more_evidence_never_clears_an_adapter(
    logs: list[float], level: float, data: st.DataObject
) -> None:
    """Where the evidence against one grows, all that were rejected still are."""
    before = e_bh(logs, level).lost
    at = data.draw(st.integers(0, len(logs) - 1))
    logs[at] += data.draw(st.floats(0.0, 5.0))
    after = e_bh(logs, level).lost
    assert all(now for then, now in zip(before, after, strict=True) if then)


@given(MANY, LEVELS)
def test_it_rejects_what_bonferroni_rejects(logs: list[float], level: float) -> None:
    """An e-value that suffices alone suffices beside others; one under 1/level never does."""
    for log, lost in zip(logs, e_bh(logs, level).lost, strict=True):
        assert lost or log < math.log10(len(logs) / level)
        assert not lost or log >= -math.log10(level) - 1e-6


@pytest.mark.parametrize(("logs", "level"), [([], 0.05), ([1.0], 0.0), ([1.0], 1.0)])
def test_what_has_no_meaning_is_refused(logs: list[float], level: float) -> None:
    """There is no rate of nothing, and none outside (0, 1)."""
    with pytest.raises(ValueError, match=r"e-value|rate"):
        e_bh(logs, level)


@given(st.lists(st.floats(-250.0, 20.0), max_size=8))
def test_e_values_are_summed(logs: list[float]) -> None:
    """The sum is that of the values themselves; what is no evidence adds nothing."""
    expected = math.log10(sum(10**log for log in logs)) if logs else NO_EVIDENCE
    assert total([*logs, NO_EVIDENCE]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "answers",
    [spread(2000, lost=400, gained=20), spread(2000, gained=120, other=120, as_=UNREAD)],
    ids=["lost", "unreadable"],
)
def test_an_adapter_that_fails_by_itself_is_found_in_any_sweep(answers: list[BOTH]) -> None:
    """A quick REGRESSION is made at the share at which its evidence suffices alone."""
    verdict = quick(answers, adapters=20)
    assert verdict.kind == "REGRESSION"
    mine = evidence([Part("mmlu", verdict)], Policy().for_sweep(20))
    assert e_bh([mine] + [NO_EVIDENCE] * 19, Policy().sweep_fdr).lost == (True, *[False] * 19)


def test_small_losses_of_several_benchmarks_add_up() -> None:
    """An adapter's evidence is the mean over its benchmarks, each at its share."""
    policy = Policy().for_sweep(20)
    some = spread(400, lost=18, gained=4)
    parts = [Part(name, quick(some, benchmarks=2)) for name in ("a", "b")]
    assert [part.verdict.kind for part in parts if part.verdict] == ["INCONCLUSIVE"] * 2
    one, both = evidence(parts[:1], policy), evidence(parts, policy)
    assert both == pytest.approx(one + math.log10(2.0))
    assert parts[0].verdict is not None
    assert parts[0].verdict.log10_e is not None
    assert both < parts[0].verdict.log10_e


@pytest.mark.parametrize(
    "part",
    [
        Part("a", quick(spread(5000, lost=20, gained=20))),
        Part("a", quick(spread(2000, lost=400)), advisory=True),
        Part("a", quick(spread(2000, lost=400, other=200, as_=MISSING))),
        Part("a", Verdict.of_error("its server is gone", scope="quick")),
        Part("a", None, missing="it was not asked"),
    ],
    ids=["passed", "advisory", "too many errors", "error", "not asked"],
)
def test_what_says_nothing_is_no_evidence(part: Part) -> None:
    """A benchmark that passes, only advises, or allows no conclusion adds nothing."""
    assert evidence([part], Policy().for_sweep(20)) == NO_EVIDENCE


def test_many_that_lost_need_less_evidence_each() -> None:
    """What does not suffice alone suffices where others have lost as well."""
    alone = e_bh([2.5, *[NO_EVIDENCE] * 99], 0.05)
    beside = e_bh([2.5, *[4.0] * 9, *[NO_EVIDENCE] * 90], 0.05)
    assert (alone.lost[0], beside.lost[0]) == (False, True)
    needed = [needed_evidence(100, 0.05, k) for k in range(1, 101)]
    assert all(more > less for more, less in pairwise(needed))


def test_a_sweep_has_a_policy_key_of_its_own() -> None:
    """`sweep_fdr` is divided among the adapters, and verdicts of other runs don't show it."""
    assert Policy(sweep_fdr=0.1, reason="a first look").for_sweep(50).false_alarm == 0.002
    assert "sweep_fdr" not in Policy().figures()
    (fault,) = Policy(sweep_fdr=0.1).faults()
    assert "0.1 is weaker than 0.05" in fault.what
