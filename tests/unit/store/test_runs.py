"""Runs in a store of many: what is looked for is found, whatever else the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.store.places import Place

from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import StoreError
from capgate.store.answer_store import Store
from capgate.store.runs import (
    known_targets,
    newest_of_any,
    newest_whole,
    newest_whole_runs,
    read_run,
    runs_of,
)
from capgate.store.shard import Shard, ShardKind

SUMS = "sums"
SETTINGS = {"task": "sums", "max_tokens": 16, "limit": None}
ABOUT: dict[str, Any] = {
    "facts": {"versions": {}},
    "dataset": {"questions": 2, "digest": "d", "source": ""},
    "selected": {"anatomy": 2},
    "prompt_hash": "p",
    "fingerprint": "f",
}


def ran(
    store: Store,
    run: str,
    *targets: str,
    kind: ShardKind = "suite",
    benchmark: str = SUMS,
    questions: Sequence[str] = ("a", "b"),
) -> None:
    """A run in which each target answered questions and was judged."""
    store.start_run(run, SETTINGS)
    context = store.context("fingerprint", "prompt", {})
    for target in targets:
        store.end_shard(run, target, Shard("entry", benchmark), ABOUT)
        for question in questions:
            answer = Answer(question, "anatomy", AnswerState.CORRECT)
            store.add(context, answer, run=run, target=target, benchmark=benchmark)
        store.end_shard(run, target, Shard(kind, benchmark), {"verdict": None})


def test_the_newest_whole_run_of_a_target_is_found_among_those_of_others(store: Store) -> None:
    """Neither a sample nor another target's run counts for it."""
    ran(store, "first", "one", "two")
    ran(store, "second", "one", kind="quick", questions=["a"])
    ran(store, "third", "two")
    found = {target: newest_whole(store, target, benchmark=SUMS) for target in ("one", "two")}
    assert {target: run and run.id for target, run in found.items()} == {
        "one": "first",
        "two": "third",
    }
    assert newest_whole(store, "three", benchmark=SUMS) is None


def test_a_quick_run_that_put_every_question_is_a_whole_one(store: Store) -> None:
    """A small benchmark is asked whole by a quick run."""
    ran(store, "quick", "one", kind="quick")
    assert newest_of_any(store, "one") == "quick"


def test_the_newest_run_counts_whichever_benchmark_it_asked(store: Store) -> None:
    """Benchmarks may be asked in runs of their own."""
    ran(store, "first", "one", benchmark="letters")
    ran(store, "second", "one", benchmark=SUMS)
    assert newest_of_any(store, "one") == "second"
    assert set(newest_whole_runs(store)) == {("one", "letters"), ("one", SUMS)}


def test_runs_of_a_target_come_newest_first(store: Store) -> None:
    """Those that were judged whole can be had alone."""
    for run, kind in (("first", "suite"), ("second", "quick"), ("third", "suite")):
        ran(store, run, "one", kind=kind)
    assert [run.id for run in runs_of(store, "one", benchmark=SUMS)] == ["third", "second", "first"]
    whole = runs_of(store, "one", kinds=["suite"], benchmark=SUMS)
    assert [run.id for run in whole] == ["third", "first"]
    assert known_targets(store) == ["one"]


def test_damaged_facts_of_one_target_leave_the_others_readable(store: Store) -> None:
    """A run of many adapters is read one adapter at a time."""
    ran(store, "run", "one", "two")
    with store.transaction() as db:
        db.execute("UPDATE shards SET facts = ? WHERE target = ?", ("{", "two"))
    assert len(read_run(store, "run", "one", benchmark=SUMS).answers) == 2
    with pytest.raises(StoreError, match="can't be read"):
        read_run(store, "run", "two", benchmark=SUMS)


def test_a_run_that_is_not_there_is_named(store: Store) -> None:
    """The error says which store was looked in."""
    with pytest.raises(StoreError, match="has no run missing"):
        store.begun("missing")


def test_a_run_goes_on_while_one_of_its_processes_has_its_store_open(place: Place) -> None:
    """Each process counts, whichever ends first; a run that nobody began does not."""
    reader, first, second = place.open(), place.open(), place.open()
    first.start_run("run", SETTINGS)
    second.start_run("run", SETTINGS)
    first.close()
    assert reader.goes_on("run")
    assert not reader.goes_on("another")
    second.close()
    assert not reader.goes_on("run")
    # To look is not to take part.
    place.open().start_run("run", SETTINGS)
    assert reader.goes_on("run")


def test_what_a_run_has_asked_so_far_is_counted_by_target_and_benchmark(store: Store) -> None:
    """A question counts once, whether asked or found, and a fault is no answer to it."""
    ran(store, "earlier", "one", questions=["a", "b", "c"])
    store.start_run("run", SETTINGS)
    context = store.context("fingerprint", "prompt", {})
    found = store.find(context, ["a", "b"], run="run", target="one", benchmark=SUMS)
    store.reuse(found.values(), run="run", target="one", benchmark=SUMS)
    for state in (AnswerState.ERROR, AnswerState.CORRECT):
        answer = Answer("d", "anatomy", state)
        store.add(context, answer, run="run", target="one", benchmark=SUMS)
    fault = Answer("e", "anatomy", AnswerState.ERROR)
    store.add(context, fault, run="run", target="two", benchmark=SUMS)
    again = Answer("a", "anatomy", AnswerState.WRONG)
    store.add(context, again, run="run", target="one", look="repeat", benchmark=SUMS)
    counted = [
        (one.target, one.benchmark, one.questions, one.answered)
        for one in store.asked_so_far("run")
    ]
    assert counted == [("one", SUMS, 3, 3), ("two", SUMS, 1, 0)]
