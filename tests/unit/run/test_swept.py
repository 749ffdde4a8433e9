"""What a sweep makes of its adapters' quick runs: ranks, exit codes, training runs, JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.gate.sweep import NO_EVIDENCE
from capgate.report.text.sweep_lines import sweep_lines
from capgate.run.swept import SweepKind, SweepResult, Swept, SweptBenchmark, rank

KINDS: tuple[SweepKind, ...] = ("REGRESSION", "ERROR", "INCONCLUSIVE", "PASS")


def one(
    name: str, kind: SweepKind, *logs: float, drop: float = 0.0, advisory: float | None = None
) -> Swept:
    """An adapter that was asked a benchmark for each evidence, and perhaps an advisory one."""
    every = [(log, False) for log in logs] + ([] if advisory is None else [(advisory, True)])
    parts = tuple(
        SweptBenchmark(
            *(f"b{at}", kind, aside, 100, 10, 10, drop, None, log, 1000, None, ("so it is",))
        )
        for at, (log, aside) in enumerate(every)
    )
    return Swept(f"base+{name}", name, kind, max(logs, default=NO_EVIDENCE), parts)


def result(
    *swept: Swept,
    waiting: int = 0,
    fault: str = "",
    on_inconclusive: Literal["fail", "pass"] = "fail",
) -> SweepResult:
    """A sweep's result."""
    rows, needed = rank(swept, len(swept) + waiting, 0.05)
    return SweepResult(
        run="r",
        base="base",
        benchmarks=("b0", "b1"),
        adapters=len(swept) + waiting,
        level=0.05,
        needed=needed,
        rows=rows,
        waiting=tuple(f"w{at}" for at in range(waiting)),
        fault=fault,
        base_questions=0,
        base_tokens=0,
        on_inconclusive=on_inconclusive,
    )


PASSED, LOST = one("p", "PASS", NO_EVIDENCE), one("l", "REGRESSION", 5.0, drop=0.2)
UNSURE, FAULTY = one("i", "INCONCLUSIVE", 0.3), Swept("base+e", "e", "ERROR", reasons=("gone",))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (result(PASSED), 0),
        (result(PASSED, UNSURE), 10),
        (result(PASSED, UNSURE, on_inconclusive="pass"), 0),
        (result(PASSED, UNSURE, FAULTY), 11),
        (result(PASSED, UNSURE, FAULTY, LOST), 1),
        (result(PASSED, waiting=1), 11),
        (result(PASSED, fault="its server is gone"), 11),
        (result(LOST, waiting=1, fault="its server is gone"), 1),
        (result(waiting=2, fault="its server is gone"), 11),
    ],
)
def test_the_exit_code(found: SweepResult, code: int) -> None:
    """A loss decides, then what could not be judged, then what nothing can be said of."""
    assert found.exit_code == code
    assert found.to_dict()["exit_code"] == code


def test_those_not_judged_count_among_all() -> None:
    """Evidence that suffices beside few adapters does not beside many that are not judged yet."""
    enough = one("l", "INCONCLUSIVE", 1.5)
    assert [row.kind for row in rank([enough], 1, 0.05)[0]] == ["REGRESSION"]
    assert [row.kind for row in rank([enough], 10, 0.05)[0]] == ["INCONCLUSIVE"]
    error = [replace(FAULTY, target=f"base+{at}") for at in range(9)]
    rows, _ = rank([enough, *error], 10, 0.05)
    assert [row.kind for row in rows] == ["ERROR"] * 9 + ["INCONCLUSIVE"]


def test_an_undecided_adapter_is_named_beside_others() -> None:
    """Where many lost, less evidence suffices; with none of them the same says nothing."""
    unsure = one("u", "INCONCLUSIVE", 2.5)
    others = [one(f"l{at}", "REGRESSION", 5.0) for at in range(9)]
    rows, _ = rank([unsure, *others], 100, 0.05)
    assert {row.kind for row in rows} == {"REGRESSION"}
    rows, _ = rank([unsure], 100, 0.05)
    assert [row.kind for row in rows] == ["INCONCLUSIVE"]


def test_a_pass_is_never_named() -> None:
    """A loss of `catch` is ruled out there, whatever the others have lost."""
    rows, _ = rank([PASSED, *(one(f"l{at}", "REGRESSION", 9.0) for at in range(9))], 10, 0.05)
    assert rows[-1].swept is PASSED
    assert rows[-1].kind == "PASS"


def test_benchmarks_whose_own_evidence_suffices_are_named() -> None:
    """What an advisory benchmark says is shown and names nothing."""
    mine = one("l", "REGRESSION", 3.0, 0.1, advisory=NO_EVIDENCE)
    ((row,), _) = rank([mine], 1, 0.05)
    assert row.lost_on == ("b0",)
    assert mine.loudest is mine.benchmarks[0]


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.floats(-3, 8), st.floats(-0.2, 0.5)), max_size=20)
)
def test_the_order_of_rows(found: list[tuple[SweepKind, float, float]]) -> None:
    """By what is said of them; among equals the larger drop comes first."""
    swept = [
        one(str(at), kind, NO_EVIDENCE if kind == "PASS" else log, drop=drop)
        for at, (kind, log, drop) in enumerate(found)
    ]
    rows, _ = rank(swept, len(swept) + 1, 0.05)
    assert {row.swept.target for row in rows} == {one.target for one in swept}
    places = [(KINDS.index(row.kind), -(row.swept.benchmarks[0].drop or 0.0)) for row in rows]
    assert places == sorted(places)


def test_the_first_checkpoint_that_lost() -> None:
    """Checkpoints stand by their number; a single one makes no training run."""
    swept = [one(f"runs/a/checkpoint-{step}", "PASS", NO_EVIDENCE) for step in (900, 50)]
    swept += [one("runs/a/checkpoint-1000", "REGRESSION", 9.0)]
    swept += [one(name, "PASS", NO_EVIDENCE) for name in ("runs/b/checkpoint-1", "final")]
    (training,) = result(*swept).trainings
    assert training.name == "runs/a"
    assert [row.swept.adapter[-4:] for row in training.rows] == ["t-50", "-900", "1000"]
    assert training.first_lost is not None
    assert training.first_lost.swept.adapter == "runs/a/checkpoint-1000"


def test_what_is_kept_comes_back_the_same() -> None:
    """An adapter that was judged is read from the store as it was; keys that are new are left."""
    for swept in (PASSED, LOST, UNSURE, FAULTY):
        kept = json.loads(json.dumps({**asdict(swept), "later": 1}))
        assert Swept.from_dict(kept) == swept


def test_json_has_every_key_and_finite_numbers() -> None:
    """A program reads one form, whether adapters were judged or not."""
    some, none = (r.to_dict() for r in (result(LOST, PASSED, FAULTY), result(waiting=1)))
    assert some.keys() == none.keys()
    assert json.loads(json.dumps(some, allow_nan=False))["rows"][0]["adapter"] == "l"
    row = some["rows"][0]
    assert (row["kind"], row["own_kind"], row["questions"], row["tokens"]) == (
        *("REGRESSION", "REGRESSION"),
        *(100, 1000),
    )


def test_lines_tell_what_is_left() -> None:
    """A sweep that was broken off says how many adapters were not judged, and why."""
    lines = "\n".join(sweep_lines(result(PASSED, waiting=3, fault="its server is gone")))
    assert "ERROR: the sweep ended before its end: its server is gone" in lines
    assert "not judged: 3 of 4 adapters; the same command goes on with them" in lines
    assert "none of 4 adapters lost capability" in lines
