"""What a plan makes of earlier runs, and whom it counts."""

from __future__ import annotations

import pytest

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.gate.budget import Budget
from capgate.gate.overrides import ReferenceChoice
from capgate.gate.policy import Policy
from capgate.run.planning import Known, Plan, Rates, discordance_of, plan, rates_of
from capgate.store.runs import StoredRun
from capgate.store.shard import Shard


def run_of(*, discordance: float, reference: str, cost: float = 0.002) -> StoredRun:
    """A whole run of 100 questions in 10 seconds."""
    answers = tuple(
        Answer(f"q{i}", "anatomy", AnswerState.CORRECT, "A", cost=cost) for i in range(100)
    )
    verdict = {"reference": reference, "counts": {"n": 100, "discordance": discordance}}
    usage = {"asked": 100, "seconds": 10.0}
    shards = {Shard("suite", MMLU): {"verdict": verdict, "usage": usage}}
    return StoredRun("r1", "mine", MMLU, 0.0, {}, {}, answers, shards)


def planned(reference: ReferenceChoice, rates: Rates) -> Plan:
    """A plan for 1,000 questions of one subject."""
    return plan(
        Policy(),
        Budget.whole(Policy()),
        reference=reference,
        floor=None,
        figure=Known(0.05, "a test"),
        rates=rates,
        population=1000,
        sizes={"anatomy": 1000},
        domains={},
    )


def test_a_measured_discordance_of_nothing_is_measured() -> None:
    """Two runs that agreed on every question tell something, and are not passed over."""
    found = discordance_of([run_of(discordance=0.0, reference="baseline")], [], None)
    assert (found.value, found.assumed) == (0.0, False)
    assert planned("baseline", rates_of([], ["a question"], 1)).visible is not None


def quick_of(n: int, *, discordance: float) -> StoredRun:
    """A quick run that stopped after some questions."""
    whole = run_of(discordance=discordance, reference="base")
    verdict = {"reference": "base", "counts": {"n": n, "discordance": discordance}}
    shards = {
        Shard("quick", MMLU): {"verdict": verdict, "usage": {"asked": n, "seconds": float(n)}}
    }
    return StoredRun(f"q{n}", "mine", MMLU, 0.0, {}, {}, whole.answers[:n], shards)


def test_figures_come_from_whole_runs_and_then_from_larger_ones() -> None:
    """A quick run of a few questions, though newer, says nothing where a larger run does."""
    tiny, larger = quick_of(16, discordance=0.5), quick_of(64, discordance=0.25)
    whole = run_of(discordance=0.05, reference="base")
    assert discordance_of([tiny, larger], [], None).value == 0.25
    assert discordance_of([tiny, larger, whole], [], None).value == 0.05
    assert discordance_of([tiny], [whole], None).value == 0.05
    assert rates_of([tiny, larger, whole], [], 1).seconds.value == pytest.approx(0.05)
    assert rates_of([tiny, larger], [], 1).seconds.value == pytest.approx(0.5)


def test_a_base_is_asked_as_well_and_so_is_paid_and_waited_for() -> None:
    """Seconds, tokens and cost count both sides where the reference is a live base."""
    rates = rates_of([run_of(discordance=0.1, reference="baseline")], [], 1)
    alone, both = planned("baseline", rates), planned("base", rates)
    assert alone.whole.seconds == pytest.approx(100.0)
    assert alone.whole.cost == pytest.approx(2.0)
    for one, two in ((alone.whole, both.whole), (alone.quick[0].mean, both.quick[0].mean)):
        assert two.questions == one.questions
        assert two.seconds == pytest.approx(2 * one.seconds)
        assert two.tokens == pytest.approx(2 * one.tokens)
        assert (two.cost, one.cost) != (None, None)
        assert two.cost == pytest.approx(2 * (one.cost or 0.0))


def test_a_pace_that_was_measured_with_the_base_counts_it_once() -> None:
    """Where the earlier run asked its base too, its wall time is that of both."""
    rates = rates_of([run_of(discordance=0.1, reference="base")], [], 1)
    assert planned("base", rates).whole.seconds == pytest.approx(100.0)
    assert planned("baseline", rates).whole.seconds == pytest.approx(50.0)
