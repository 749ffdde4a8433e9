"""What a benchmark of some size can see."""

from __future__ import annotations

import pytest

from capgate.config.benchmarks_file import shipped_benchmarks
from capgate.gate import Budget, Policy, benchmark_budget
from capgate.gate.power import visible_drops

SEEN = {
    "mmlu": (13_937, 0.7, 1.0, 1.4),
    "hellaswag": (10_042, 0.8, 1.1, 1.6),
    "bbh": (6_509, 1.0, 1.4, 2.0),
    "gsm8k": (1_319, 2.2, 3.1, 4.4),
    "arc_challenge": (1_172, 2.4, 3.3, 4.7),
    "winogrande": (1_267, 2.3, 3.2, 4.5),
    "truthfulqa": (817, 2.8, 4.0, 5.6),
    "ifeval": (541, 3.5, 4.9, 6.9),
}
"""Questions, and the smallest drop seen where 5, 10 and 20 % differ, in points."""


@pytest.mark.parametrize("name", SEEN)
def test_the_smallest_drop_seen_is_that_of_the_table(name: str) -> None:
    """At half of `false_alarm`, within what an exact test on whole questions costs."""
    questions, *points = SEEN[name]
    found = visible_drops(questions, Policy(), share=Budget.whole(Policy()).pooled)
    assert list(found) == [0.05, 0.1, 0.2]
    for drop, stated in zip(found.values(), points, strict=True):
        assert drop is not None
        assert 100 * drop == pytest.approx(stated, abs=0.1, rel=0.06)


@pytest.mark.parametrize("name", SEEN)
def test_each_benchmark_of_the_core_suite_can_decide_its_catch(name: str) -> None:
    """Also at its share among eight, where a tenth of the answers differ."""
    entry = shipped_benchmarks().entries[name]
    policy = Policy().for_benchmark(name, entry.catch)
    groups = bool(entry.known_groups)
    budget = benchmark_budget(policy, 8, groups=groups, parents=bool(entry.parent_of))
    seen = visible_drops(SEEN[name][0], policy, share=budget.pooled)[0.1]
    assert seen is not None
    assert seen <= policy.catch


def test_more_questions_and_larger_shares_see_more() -> None:
    """The smallest drop falls with questions and share; a handful of questions sees nothing."""
    small, large = (visible_drops(n, Policy(), share=0.01)[0.1] for n in (500, 5000))
    assert small is not None
    assert large is not None
    assert large < small
    wide = visible_drops(500, Policy(), share=0.05)[0.1]
    assert wide is not None
    assert wide < small
    assert set(visible_drops(5, Policy(), share=0.01).values()) == {None}
