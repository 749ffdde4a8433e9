"""One verdict over several benchmarks."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gate.suites import answers, part

from capgate.common.answers import AnswerState as State
from capgate.gate import (
    Budget,
    Floor,
    Part,
    Policy,
    SequentialGate,
    Single,
    SuiteVerdict,
    Verdict,
    benchmark_budget,
    combine_quick,
    decide_fixed,
    decide_floor,
    decide_suite,
    seeded_order,
)
from capgate.gate.families import holm_by_family
from capgate.gate.overrides import Shares
from capgate.gate.stats import holm

PARENTS = {f"g{i}": f"p{i % 2}" for i in range(8)}


def three(lost: int = 0, *, last: Part | None = None) -> list[Part]:
    """Three benchmarks that agree but for what one of them lost."""
    return [
        part("one", answers("one", 1000, lost=20, gained=20), of=3),
        part("two", answers("two", 1000, lost=20 + lost, gained=20), of=3),
        last or part("three", answers("three", 600, lost=5, gained=5), of=3),
    ]


def named(verdict: SuiteVerdict) -> set[tuple[str, str, str]]:
    """The tests by which a suite fails."""
    return {(one.benchmark, one.what, one.name) for one in verdict.tests if one.fails}


def test_it_passes_where_each_benchmark_rules_out_its_catch() -> None:
    """PASS is each benchmark's own PASS; the reason names what each rules out."""
    verdict = decide_suite(three(), Policy())
    assert (verdict.kind, verdict.exit_code, verdict.fails) == ("PASS", 0, False)
    assert "one a loss of 5 points" in verdict.reasons[0]
    assert [one.kind for one in verdict.benchmarks] == ["PASS"] * 3


def test_a_loss_of_one_benchmark_is_a_regression_that_names_it() -> None:
    """One benchmark of three that lost fails the suite, and it alone is named."""
    verdict = decide_suite(three(lost=80), Policy())
    assert (verdict.kind, verdict.exit_code, verdict.fails) == ("REGRESSION", 1, True)
    assert verdict.failed == ("two",)
    assert verdict.reasons[0].startswith("two lost: Drop 8.0 points")


def test_a_benchmark_without_enough_questions_makes_it_inconclusive() -> None:
    """One that rules out neither is named; the others' PASS does not cover it."""
    few = part("three", answers("three", 40), of=3)
    verdict = decide_suite(three(last=few), Policy())
    assert (verdict.kind, verdict.exit_code, verdict.fails) == ("INCONCLUSIVE", 10, True)
    assert [reason[:5] for reason in verdict.reasons] == ["three"]


def test_an_inconclusive_suite_passes_where_the_policy_says_so() -> None:
    """`on_inconclusive: pass` of the benchmark that lacks evidence excuses the suite."""
    policy = Policy(on_inconclusive="pass", reason="a trial")
    few = part("three", answers("three", 40), of=3, policy=policy)
    verdict = decide_suite(three(last=few), policy)
    assert (verdict.kind, verdict.fails) == ("INCONCLUSIVE", False)


def test_a_required_benchmark_that_is_missing_is_an_error() -> None:
    """Neither one that was not asked nor one without a verdict can be passed over."""
    verdict = decide_suite(three()[:2], Policy(), required=["one", "two", "three"])
    assert (verdict.kind, verdict.exit_code, verdict.fails) == ("ERROR", 11, True)
    assert verdict.reasons[0] == "three: it was not asked."
    broken = Part("three", Verdict.of_error("no baseline", scope="suite"))
    verdict = decide_suite([*three()[:2], broken], Policy())
    assert (verdict.kind, verdict.reasons[0]) == ("ERROR", "three: no baseline")
    without = decide_suite([*three()[:2], Part("three", None, missing="no data")], Policy())
    assert (without.kind, without.reasons[0]) == ("ERROR", "three: no data")


def test_an_error_tells_what_was_lost_as_well() -> None:
    """A missing benchmark does not hide another one's loss."""
    verdict = decide_suite(three(lost=80)[:2], Policy(), required=["three"])
    assert verdict.kind == "ERROR"
    assert any(reason.startswith("two lost") for reason in verdict.reasons)


def test_benchmarks_that_are_all_advisory_decide_nothing() -> None:
    """A suite in which no benchmark decides is an error, not a pass."""
    only = part("one", answers("one", 1000), of=1, advisory=True)
    assert decide_suite([only], Policy()).kind == "ERROR"


def test_small_losses_everywhere_show_only_together() -> None:
    """Four benchmarks lose a little each; none can say so, all together can."""
    four = [part(name, answers(name, 700, lost=34, gained=20), of=4, catch=0.03) for name in "abcd"]
    verdict = decide_suite(four, Policy())
    assert {one.kind for one in verdict.benchmarks} == {"INCONCLUSIVE"}
    assert verdict.kind == "REGRESSION"
    assert named(verdict) == {("", "together", "")}
    assert "No benchmark alone shows a loss" in verdict.reasons[0]


def test_a_tiny_loss_over_very_many_questions_passes() -> None:
    """A loss that is shown, but nearer to none than to a `catch` ruled out, is no failure."""
    big = [
        part(name, answers(name, 12_000, lost=600, gained=540), of=3, catch=0.02) for name in "abc"
    ]
    verdict = decide_suite(big, Policy())
    assert verdict.together is not None
    assert verdict.together.evidence[0].rejected
    assert verdict.together.excused
    assert verdict.kind == "PASS"


def test_questions_of_another_benchmark_are_left_out_of_the_test_of_all() -> None:
    """Another language of the same questions tells nothing independent."""
    four = [
        part(name, answers(name, 700, lost=34, gained=20), of=4, apart=name in "bcd")
        for name in "abcd"
    ]
    assert decide_suite(four, Policy()).together is None


def test_groups_and_parents_of_any_benchmark_are_named() -> None:
    """A parent that lost a little in each of its groups is named, its groups are not."""
    rows = [
        row
        for group, parent in PARENTS.items()
        for row in answers("bbh", 250, lost=9 if parent == "p0" else 0, group=group)
    ]
    mine = part("bbh", rows, of=3, parents=PARENTS, groups=True)
    verdict = decide_suite([*three()[:2], mine], Policy())
    assert verdict.benchmarks[2].lost_parents == ("p0",)
    assert verdict.benchmarks[2].lost_groups == ()
    assert verdict.kind == "REGRESSION"


def test_a_group_that_a_second_look_did_not_confirm_does_not_fail_the_suite() -> None:
    """What its own verdict cleared is no loss of the suite."""
    rows = [
        row
        for group in PARENTS
        for row in answers("bbh", 250, lost=25 if group == "g0" else 0, group=group)
    ]
    mine = part("bbh", rows, of=3, groups=True, catch=0.05)
    assert mine.verdict is not None
    assert [one.name for one in mine.verdict.failed_subjects] == ["g0"]
    subjects = tuple(replace(one, word="kept") for one in mine.verdict.subjects)
    cleared = replace(mine, verdict=replace(mine.verdict, kind="PASS", subjects=subjects))
    assert decide_suite([*three()[:2], mine], Policy()).kind == "REGRESSION"
    assert decide_suite([*three()[:2], cleared], Policy()).kind == "PASS"


def test_unreadable_answers_of_one_benchmark_fail_the_suite() -> None:
    """Answers that became unreadable have a share of their own."""
    unread = part("three", answers("three", 1000, unread=30), of=3, catch=0.2)
    assert ("three", "unparsed", "") in named(decide_suite(three(last=unread), Policy()))


def test_longer_answers_of_one_benchmark_fail_the_suite() -> None:
    """Accuracy holds, but answers are four times as long."""
    long = part("three", answers("three", 600, tokens=(100, 400)), of=3)
    verdict = decide_suite(three(last=long), Policy())
    assert named(verdict) == {("three", "length", "")}
    assert verdict.kind == "REGRESSION"


def test_nothing_is_concluded_from_answers_that_nobody_could_read() -> None:
    """A benchmark with too many missing answers neither passes nor fails the suite."""
    broken = part("three", answers("three", 600, lost=200, missing=60), of=3)
    verdict = decide_suite(three(last=broken), Policy())
    assert verdict.kind == "INCONCLUSIVE"
    assert "max_error_rate" in verdict.reasons[0]
    assert not named(verdict)


def test_missing_answers_are_read_in_the_candidates_favour_together() -> None:
    """What could have been a loss is none where all benchmarks are tested together."""
    four = [part(name, answers(name, 700, lost=31, gained=20, missing=3), of=4) for name in "abcd"]
    verdict = decide_suite(four, Policy())
    assert verdict.together is not None
    without = decide_suite(
        [part(name, answers(name, 697, lost=31, gained=20), of=4) for name in "abcd"], Policy()
    )
    assert without.together is not None
    assert verdict.together.evidence[0].value == without.together.evidence[0].value


def test_a_floor_stands_beside_paired_benchmarks() -> None:
    """A benchmark held against a floor decides like the others, and is not in the test of all."""
    right, wrong = State.CORRECT, State.WRONG
    rows = [Single(f"f{i}", "floor", right if i < 620 else wrong) for i in range(1000)]
    budget = benchmark_budget(Policy(), 3, paired=False, groups=False)
    policy = Policy().for_benchmark("floor", 0.05)
    own = Part("floor", decide_floor(rows, Floor(0.7), policy, budget=budget))
    verdict = decide_suite([*three()[:2], own], Policy())
    assert verdict.failed == ("floor",)
    assert verdict.together is not None
    assert verdict.together.benchmarks == ("one", "two")


def test_the_verdict_is_plain_json() -> None:
    """Every figure of the verdict goes into JSON, and the shares sum to the total."""
    found = json.loads(json.dumps(decide_suite(three(80), Policy()).to_dict(), allow_nan=False))
    budget = dict(found["budget"])
    n = budget.pop("n_benchmarks")
    assert n == 3
    assert budget.pop("total") == pytest.approx(sum(budget.values()))
    assert found["kind"] == "REGRESSION"
    assert found["benchmarks"][1]["failed"]


def test_a_name_twice_or_none_at_all_is_refused() -> None:
    """A suite has each benchmark once, and at least one."""
    with pytest.raises(ValueError, match="each benchmark once"):
        decide_suite([three()[0], three()[0]], Policy())
    with pytest.raises(ValueError, match="at least one"):
        decide_suite([], Policy())
    with pytest.raises(ValueError, match="no whole"):
        Part("one", Verdict.of_error("x", scope="subject"))


# Shares.


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("groups", "parents"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("n", [1, 2, 8])
def test_the_shares_of_all_benchmarks_sum_to_false_alarm(
    n: int, groups: bool, parents: bool, paired: bool, quick: bool
) -> None:
    """Each benchmark's budget accounts for the whole, and all their slices fit into it."""
    policy = Policy()
    one = benchmark_budget(policy, n, groups=groups, parents=parents, paired=paired, quick=quick)
    parts = one.tested + one.reserved + one.spent + one.others
    assert parts == pytest.approx(policy.false_alarm)
    mine = one.tested + one.reserved
    together = 0.0 if quick or n == 1 else policy.false_alarm * Shares().together
    assert n * mine + together == pytest.approx(policy.false_alarm)


def test_a_benchmark_alone_has_todays_budget() -> None:
    """One benchmark by itself is judged as before there were several."""
    policy = Policy()
    for domains in (False, True):
        whole = Budget.whole(policy, domains=domains)
        assert benchmark_budget(policy, 1, parents=domains) == whole
    assert benchmark_budget(policy, 1, quick=True) == Budget.quick(policy)
    assert benchmark_budget(policy, 1, paired=False) == Budget.whole(policy, paired=False)


def test_a_benchmark_without_groups_gives_their_share_to_its_own_test() -> None:
    """What has no groups has no tests of them."""
    with_groups, without = (benchmark_budget(Policy(), 3, groups=g) for g in (True, False))
    assert without.groups == 0.0
    assert without.pooled == pytest.approx(with_groups.pooled + with_groups.groups)


def test_stated_shares_are_kept() -> None:
    """`shares:` of the policy divides the budget of one benchmark and of several."""
    shares = Shares(together=0.5, benchmarks=0.3, groups=0, parents=0, unparsed=0.1, length=0.1)
    policy = Policy(shares=shares)
    one = benchmark_budget(policy, 2)
    assert (one.pooled, one.unparsed, one.length) == pytest.approx((0.0075, 0.0025, 0.0025))
    alone = benchmark_budget(policy, 1)
    assert alone.pooled == pytest.approx(0.04)
    assert alone.others == 0.0


# Laws.

COUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 12))


def suite_of(counts: list[tuple[int, int, int]], n: int = 300) -> list[Part]:
    """A suite of benchmarks of `n` questions, each with losses, gains and unreadable answers."""
    return [
        part(f"b{i}", answers(f"b{i}", n, lost=a, gained=b, unread=c), of=len(counts))
        for i, (a, b, c) in enumerate(counts)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(COUNTS, min_size=2, max_size=4), st.integers(0, 3), st.integers(1, 60))
def test_more_losses_never_make_a_regression_pass(
    counts: list[tuple[int, int, int]], which: int, more: int
) -> None:
    """Where a suite fails, it fails as well where one of its benchmarks lost more."""
    which %= len(counts)
    worse = list(counts)
    lost, gained, unread = worse[which]
    worse[which] = (lost + more, gained, unread)
    before, after = (decide_suite(suite_of(one), Policy()) for one in (counts, worse))
    if before.kind == "REGRESSION":
        assert after.kind == "REGRESSION"
    if after.kind == "PASS":
        assert before.kind == "PASS"


@settings(max_examples=40, deadline=None)
@given(st.lists(COUNTS, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_benchmarks_does_not_matter(
    counts: list[tuple[int, int, int]], chance: random.Random
) -> None:
    """The same benchmarks in another order have the same verdict and fail by the same tests."""
    parts = suite_of(counts)
    other = list(parts)
    chance.shuffle(other)
    one, two = decide_suite(parts, Policy()), decide_suite(other, Policy())
    assert one.kind == two.kind
    assert named(one) == named(two)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.integers(0, 4))
def test_one_benchmark_alone_has_todays_verdict(counts: tuple[int, int, int], gone: int) -> None:
    """A suite of one says what `decide_fixed` says by itself, exit code included."""
    rows = answers("a", 400, lost=counts[0], gained=counts[1], unread=counts[2], missing=gone)
    today = decide_fixed(rows, Policy())
    budget = benchmark_budget(Policy(), 1)
    mine = decide_fixed(rows, Policy().for_benchmark("a"), budget=budget)
    assert mine.to_dict() == today.to_dict()
    suite = decide_suite([Part("a", mine)], Policy())
    assert (suite.kind, suite.exit_code, suite.fails) == (
        today.kind,
        today.exit_code,
        today.fails,
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=3), COUNTS)
def test_an_advisory_benchmark_never_changes_the_verdict(
    counts: list[tuple[int, int, int]], extra: tuple[int, int, int]
) -> None:
    """It is reported beside the others, and every test of theirs says what it said without it."""
    parts = suite_of(counts)
    rows = answers("extra", 300, lost=extra[0], gained=extra[1], unread=extra[2])
    beside = part("extra", rows, of=len(parts), advisory=True)
    with_it, without = decide_suite([*parts, beside], Policy()), decide_suite(parts, Policy())
    assert (with_it.kind, with_it.fails, with_it.tests) == (
        without.kind,
        without.fails,
        without.tests,
    )
    assert with_it.benchmarks[-1].name == "extra"


@settings(max_examples=60, deadline=None)
@given(st.lists(COUNTS, min_size=2, max_size=5))
def test_what_a_benchmarks_own_verdict_fails_the_suite_fails(
    counts: list[tuple[int, int, int]],
) -> None:
    """The suite never contradicts the verdict of a benchmark's own test."""
    parts = suite_of(counts)
    verdict = decide_suite(parts, Policy())
    red = {one.name for one in parts if one.verdict and one.verdict.kind == "REGRESSION"}
    assert red <= set(verdict.failed)
    if verdict.kind == "PASS":
        assert all(one.verdict and one.verdict.kind == "PASS" for one in parts)


P_VALUES = st.lists(
    st.tuples(st.floats(0.0, 0.2), st.sampled_from([0.001, 0.004, 0.01]), st.sampled_from("abc")),
    min_size=1,
    max_size=8,
)


@given(P_VALUES)
def test_families_reject_what_their_own_holm_rejects(found: list[tuple[float, float, str]]) -> None:
    """Over all families at least that is rejected which Holm rejects within each, at its share."""
    p, shares, families = (list(column) for column in zip(*found, strict=True))
    level = sum(shares)
    adjusted = holm_by_family(p, shares, families)
    for family in set(families):
        mine = [i for i, one in enumerate(families) if one == family]
        part_of = sum(shares[i] for i in mine)
        own = holm([p[i] for i in mine], [shares[i] for i in mine])
        for i, value in zip(mine, own, strict=True):
            if value <= part_of * (1 - 1e-9):
                assert adjusted[i] <= level * (1 + 1e-9)


@given(P_VALUES)
def test_one_family_is_holms_procedure(found: list[tuple[float, float, str]]) -> None:
    """With a single family the adjusted p-values are those of weighted Holm."""
    p, shares = [one[0] for one in found], [one[1] for one in found]
    assert holm_by_family(p, shares, ["a"] * len(p)) == pytest.approx(holm(p, shares))


@given(P_VALUES, st.integers(0, 7), st.floats(0.0, 1.0))
def test_smaller_p_values_reject_no_less(
    found: list[tuple[float, float, str]], which: int, factor: float
) -> None:
    """Where one p-value falls, nothing that was rejected is kept."""
    p, shares, families = (list(column) for column in zip(*found, strict=True))
    level = sum(shares)
    less = list(p)
    less[which % len(p)] *= factor
    before, after = (holm_by_family(one, shares, families) for one in (p, less))
    for one, two in zip(before, after, strict=True):
        if one <= level * (1 - 1e-9):
            assert two <= level * (1 + 1e-9)


@pytest.mark.parametrize(
    ("p", "shares", "families"),
    [([0.1], [0.1, 0.2], ["a"]), ([1.1], [0.1], ["a"]), ([0.1], [0.0], ["a"])],
)
def test_values_that_do_not_fit_are_refused(
    p: list[float], shares: list[float], families: list[str]
) -> None:
    """As many shares and families as p-values, each in its range."""
    with pytest.raises(ValueError, match="p-value"):
        holm_by_family(p, shares, families)


# Quick runs.


def quick(
    name: str, n: int, lost: float, gained: float, *, of: int, catch: float = 0.05, seed: int = 1
) -> Part:
    """A quick run of a benchmark, stopped at its own verdict."""
    rows = {
        row.question: row
        for row in answers(name, n, lost=round(lost * n), gained=round(gained * n))
    }
    policy = Policy().for_benchmark(name, catch)
    budget = benchmark_budget(Policy(), of, groups=False, quick=True)
    gate = SequentialGate(policy, population=n, seed=seed, budget=budget)
    order = seeded_order(rows, seed=seed)
    for at in range(0, n, 64):
        if gate.update([rows[question] for question in order[at : at + 64]]):
            break
    assert gate.verdict is not None
    return Part(name, gate.verdict)


def test_quick_runs_that_all_pass_pass_together() -> None:
    """Each stops at its own PASS, and the suite passes."""
    parts = [quick(name, 3000, 0.02, 0.02, of=2) for name in "ab"]
    verdict = combine_quick(parts, Policy())
    assert (verdict.kind, verdict.quick) == ("PASS", True)
    assert verdict.to_dict()["scope"] == "quick"


def test_a_quick_run_that_fails_at_its_share_fails_the_suite() -> None:
    """Where w·E reaches 1/α the benchmark's own verdict is REGRESSION, and so is the suite's."""
    parts = [quick("a", 3000, 0.02, 0.02, of=2), quick("b", 3000, 0.15, 0.02, of=2)]
    verdict = combine_quick(parts, Policy())
    assert verdict.kind == "REGRESSION"
    assert verdict.failed == ("b",)
    one = next(test for test in verdict.tests if (test.benchmark, test.what) == ("b", "benchmark"))
    assert one.value == pytest.approx(-math.log10(one.share))


def test_the_weighted_mean_of_e_values_shows_small_losses_everywhere() -> None:
    """E-values that each fall short of their own 1/(w·α) reach 1/α on average."""
    parts = [quick(name, 3000, 0.02, 0.02, of=4) for name in "abcd"]
    share = 0.03
    almost = []
    for one in parts:
        assert one.verdict is not None
        e = 1.6  # each: 10^1.6 = 40, more than 1/0.03 = 33 and less than 4/0.03 = 133
        almost.append(replace(one, verdict=replace(one.verdict, kind="INCONCLUSIVE", log10_e=e)))
    verdict = combine_quick(almost, Policy())
    assert verdict.together is not None
    assert verdict.together.evidence[0].value == pytest.approx(1.6)
    assert verdict.together.evidence[0].share == pytest.approx(share)
    assert verdict.kind == "REGRESSION"
    weaker = [
        replace(one, verdict=replace(one.verdict, log10_e=1.5)) for one in almost if one.verdict
    ]
    assert combine_quick(weaker, Policy()).kind == "INCONCLUSIVE"
