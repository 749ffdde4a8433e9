"""What a tracker is told of a run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.report.examples import red_report

from capgate.report.data.result import Report, Section
from capgate.report.trackers.tracked import COLUMNS, tracked


def of(*targets: str) -> Report:
    """A report of a red run of some targets."""
    first, *others = (red_report(target=target) for target in targets)
    for other in others:
        first.targets.update(other.targets)
        first.comparisons.update(other.comparisons)
    return first


def test_the_numbers_of_a_target() -> None:
    """Fractions and counts by benchmark, without the target's name where it is the only one."""
    told = tracked(of("mine"))
    numbers = {name.removeprefix("capgate/mmlu/"): one for name, one in told.numbers.items()}
    counts = {"questions": 100, "lost": 40, "gained": 0, "unparsed": 0, "errors": 0}
    assert numbers.items() >= counts.items()
    assert (numbers["accuracy"], numbers["reference_accuracy"]) == (0.6, 1.0)
    assert numbers["drop"] == pytest.approx(0.4)
    assert numbers["drop_low"] < 0.4 < numbers["drop_high"]
    assert told.words == {
        "capgate/run": "20260101T000000Z-0001",
        "capgate/verdict": "REGRESSION",
        "capgate/target": "mine",
        "capgate/mmlu/verdict": "REGRESSION",
        "capgate/mmlu/reference": "base",
    }


def test_the_groups() -> None:
    """One row for each group, with its word and what it lost."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in tracked(of("mine")).rows]
    assert [(row["group"], row["parent"], row["verdict"], row["lost"]) for row in rows] == [
        ("anatomy", "other", "lost", 40),
        ("virology", "other", "too few to tell", 0),
    ]


def test_several_targets() -> None:
    """Each target has names of its own, also where two differ in a refused character alone."""
    told = tracked(of("a+b", "a b", "c"))
    lost = {name: one for name, one in told.numbers.items() if name.endswith("/lost")}
    heads = ("capgate/a_b", "capgate/a_b-2", "capgate/c")
    assert lost == {f"{head}/mmlu/lost": 40 for head in heads}
    assert [told.words[f"{head}/target"] for head in heads] == ["a+b", "a b", "c"]
    assert {row[0] for row in told.rows} == {"a+b", "a b", "c"}


def test_several_benchmarks() -> None:
    """Each benchmark has names of its own; what has no value has no name."""
    other = of("mine")
    report = of("mine").model_copy(
        update={"benchmarks": {"sums": Section(targets=other.targets)}, "cost": 0.25}
    )
    told = tracked(report)
    assert told.numbers["capgate/mmlu/lost"] == 40
    assert "capgate/sums/lost" not in told.numbers
    assert told.numbers["capgate/sums/accuracy"] == 0.6
    assert told.numbers["capgate/cost"] == 0.25


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True))
def test_each_name_is_one_that_trackers_take(names: list[str]) -> None:
    """For any names of targets, no two numbers share a name, and no path leads upwards."""
    told = tracked(of(*names))
    assert len([one for one in told.numbers if one.endswith("/lost")]) == len(names)
    for name in (*told.numbers, *told.words):
        assert re.fullmatch(r"[A-Za-z0-9_./-]{1,250}", name)
        assert not {"", ".", ".."} & set(name.split("/"))
