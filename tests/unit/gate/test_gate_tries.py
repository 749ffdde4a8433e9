"""What a run may spend when its candidate was judged before."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.gate.tries import Allowance, Earlier, Kind, allow
from capgate.gate.verdict import VerdictKind
from capgate.store.answer_store import Store
from capgate.store.tries import Attempt, begin, end


class Ledger:
    """Runs on one candidate, one after the other."""

    def __init__(self) -> None:
        self.earlier: list[Earlier] = []

    def make(
        self, kind: Kind, verdict: VerdictKind, *, variant: str = "1", fresh: bool = False
    ) -> Allowance:
        """Makes a run and notes its verdict."""
        found = allow(kind, variant, self.earlier, fresh=fresh)
        run = f"run-{len(self.earlier) + 1}"
        self.earlier.append(
            Earlier(run, kind, variant, found.number, found.share, found.after, verdict)
        )
        return found


def test_a_first_run_may_spend_all_of_its_shares() -> None:
    """Quick or full, a candidate that was never judged is a first try; nothing is said of it."""
    for kind in ("quick", "full"):
        found = Ledger().make(kind, "PASS")  # type: ignore[arg-type]
        assert (found.number, found.share, found.reason) == (1, 1.0, "")


@pytest.mark.parametrize("verdict", ["INCONCLUSIVE", "REGRESSION"])
def test_a_full_run_after_a_quick_one_spends_what_that_left(verdict: VerdictKind) -> None:
    """The pair is one try: four fifths for the quick run, one fifth for the full one."""
    ledger = Ledger()
    ledger.make("quick", verdict)
    found = ledger.make("full", "PASS", variant="all")
    assert (found.number, found.share, found.after) == (1, pytest.approx(0.2), "run-1")
    assert f"the run run-1 ({verdict}), on one budget" in found.reason


def test_after_a_pass_a_run_is_a_first_try_again() -> None:
    """Who watches a model night by night asks a new question each time."""
    ledger = Ledger()
    ledger.make("quick", "PASS")
    assert ledger.make("full", "PASS").share == 1.0
    for _ in range(3):
        assert ledger.make("full", "PASS", fresh=True).number == 1


def test_the_same_answers_in_the_same_order_are_no_further_try() -> None:
    """A run made again repeats the verdict at the shares it had."""
    ledger = Ledger()
    ledger.make("quick", "INCONCLUSIVE")
    again = ledger.make("quick", "INCONCLUSIVE")
    assert (again.number, again.share) == (1, 1.0)
    full = [ledger.make("full", "REGRESSION") for _ in range(2)]
    assert [one.share for one in full] == pytest.approx([0.2, 0.2])
    assert full[1].after == "run-2"


def test_another_seed_or_fresh_answers_pay() -> None:
    """Each further try spends half of what the one before could, and its verdict says so."""
    ledger = Ledger()
    ledger.make("quick", "REGRESSION")
    other = ledger.make("quick", "INCONCLUSIVE", variant="2")
    assert (other.number, other.share) == (2, 0.5)
    assert other.reason.startswith("2nd try on this candidate, after the run run-1 (REGRESSION)")
    assert ledger.make("full", "REGRESSION").share == pytest.approx(0.1)
    third = ledger.make("full", "REGRESSION", fresh=True)
    assert (third.number, third.share) == (3, 0.25)
    assert third.reason.startswith("3rd try on this candidate, after the run run-3 (REGRESSION)")
    # Later runs find the answers of that third try.
    assert ledger.make("full", "REGRESSION").number == 3


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["quick", "full"]),
            st.sampled_from(["1", "2", "3"]),
            st.booleans(),
            st.sampled_from(["INCONCLUSIVE", "REGRESSION"]),
        ),
        max_size=30,
    )
)
def test_all_tries_together_spend_less_than_twice_the_shares(
    runs: list[tuple[Kind, str, bool, VerdictKind]],
) -> None:
    """However often a candidate is tried until it passes, the shares spent stay bounded."""
    ledger, spent = Ledger(), 0.0
    for kind, variant, fresh, verdict in runs:
        repeats = not fresh and any(
            (one.kind, one.variant) == (kind, variant) for one in ledger.earlier
        )
        found = ledger.make(kind, verdict, variant=variant, fresh=fresh)
        spent += 0.0 if repeats else found.share * (0.8 if kind == "quick" else 1.0)
    assert spent < 2.0


def attempt(run: str, kind: Kind = "full", **other: object) -> Attempt:
    """Returns an attempt at one candidate."""
    facts: dict[str, object] = {"variant": "1", "candidate": "c", "reference": "r"}
    facts |= {"questions": "q", "fresh": False, "benchmark": MMLU}
    return Attempt(run=run, target="mine", kind=kind, **{**facts, **other})  # type: ignore[arg-type]


def test_all_processes_of_a_run_spend_the_same(tmp_path: Path) -> None:
    """What a run may spend is settled by its first process, whatever is judged meanwhile."""
    file = tmp_path / "answers.sqlite"
    with Store(file) as one, Store(file) as other:
        first = begin(one, attempt("a"))
        begin(one, attempt("b", "quick"))
        end(one, "b", "mine", "quick", "INCONCLUSIVE", benchmark=MMLU)
        assert begin(other, attempt("a")) == first == Allowance()
        assert begin(other, attempt("c")).share == pytest.approx(0.2)
        others = (
            {"candidate": "d"},
            {"reference": "s"},
            {"questions": "p"},
            {"benchmark": "gsm8k"},
        )
        for change in others:
            name = str(change)
            assert begin(other, attempt(name, **change)) == Allowance()


def test_each_benchmark_of_a_run_is_a_try_of_its_own(tmp_path: Path) -> None:
    """A run that asks two benchmarks spends the whole share of each, and each has its verdict."""
    with Store(tmp_path / "answers.sqlite") as store:
        for name in (MMLU, "gsm8k"):
            assert begin(store, attempt("a", benchmark=name)) == Allowance()
        end(store, "a", "mine", "full", "REGRESSION", benchmark="gsm8k")
        assert begin(store, attempt("b", fresh=True)).number == 1
        assert begin(store, attempt("b", fresh=True, benchmark="gsm8k")).number == 2


def test_a_run_without_a_verdict_is_no_try(tmp_path: Path) -> None:
    """A run that was stopped or ended in an error has told nobody anything."""
    with Store(tmp_path / "answers.sqlite") as store:
        begin(store, attempt("a", "quick"))
        assert begin(store, attempt("b")) == Allowance()


def test_a_lost_subject_counts_until_the_whole_is_judged(tmp_path: Path) -> None:
    """A subject's REGRESSION makes a fresh run a second try; the suite's PASS takes it back."""
    with Store(tmp_path / "answers.sqlite") as store:
        begin(store, attempt("a"))
        end(store, "a", "mine", "full", "REGRESSION", benchmark=MMLU, part=True)
        assert begin(store, attempt("b", fresh=True)).number == 2
        end(store, "a", "mine", "full", "PASS", benchmark=MMLU)
        end(store, "a", "mine", "full", "REGRESSION", benchmark=MMLU, part=True)
        assert begin(store, attempt("c", fresh=True)).number == 1
