"""Runs in a store of many: what is looked for is found, whatever else the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

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
