"""Which of a session's tests run, in which order, and what they ask of each target."""

from __future__ import annotations

import pytest

from capgate.pytest_suite.choosing import Chosen, SessionPlan, choose

pytest_plugins = ["pytester"]

SUBJECTS = ("anatomy", "virology")

SUITE = """
import pytest

@pytest.fixture
def capgate(): pass

for_each = pytest.mark.parametrize("target", ["a", "b"])

@for_each
def test_suite(capgate, target): pass

@for_each
@pytest.mark.parametrize("subject", ["virology", "anatomy"])
def test_subject(capgate, target, subject): pass

@for_each
def test_quick(capgate, target): pass

@for_each
def test_preflight(capgate, target): pass

def test_theirs(): pass
"""


@pytest.fixture
def items(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[pytest.Item]:
    """The tests of two targets, and one of the project's own, collected without the plugin."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester.getitems(SUITE)


def only(items: list[pytest.Item], *parts: str) -> list[pytest.Item]:
    """The tests of which each name holds one of the parts."""
    return [item for item in items if any(part in item.name for part in parts)]


def names(chosen: Chosen) -> list[str]:
    """The tests that run, in order."""
    return [part.item.name for part in chosen.kept]


def test_preflights_come_first_and_suites_last(items: list[pytest.Item]) -> None:
    """A whole run of a target makes no quick run of it; the project's own test stays."""
    chosen = choose(items, "")
    assert names(chosen) == [
        "test_preflight[a]",
        "test_preflight[b]",
        *(f"test_subject[{subject}-{t}]" for subject in ("virology", "anatomy") for t in "ab"),
        "test_theirs",
        "test_suite[a]",
        "test_suite[b]",
    ]
    assert {item.name for item in chosen.left_out} == {"test_quick[a]", "test_quick[b]"}
    assert "full run alone (the whole benchmark)" in chosen.line


def test_a_quick_run_beside_subjects_is_made_if_it_is_named(items: list[pytest.Item]) -> None:
    """The two then share the error budget; without its name the subjects are judged alone."""
    few = only(items, "quick[a]", "subject")
    named = choose(few, "quick or anatomy")
    assert "test_quick[a]" in names(named)
    assert named.beside_quick == {("a", "mmlu")}
    assert "share one error budget" in named.line
    unnamed = choose(few, "")
    assert "full run alone (subjects)" in unnamed.line
    assert SessionPlan.of(unnamed).beside_quick == frozenset()


def test_what_the_tests_ask(items: list[pytest.Item]) -> None:
    """The suite asks all subjects, a quick run none by name, a preflight gives no kind of run."""
    some = only(items, "suite[a]", "anatomy-a", "virology-a", "quick[b]", "preflight[b]", "theirs")
    tests = SessionPlan.of(choose(some, ""))
    planned = {t: tests.planned(t, "mmlu", lambda: (*SUBJECTS, "astronomy")) for t in "abc"}
    assert planned == {"a": {"anatomy", "virology", "astronomy"}, "b": set(), "c": None}
    assert tests.modes == {("a", "mmlu"): "full", ("b", "mmlu"): "quick"}
    assert (tests.preflighted, tests.over_all) == ({"b"}, {"a", "b"})
    assert tests.whole == {("a", "mmlu")}
    assert set(tests.targets.values()) == {"a", "b"}
    assert len(tests.targets) == 5


def test_subjects_that_follow(items: list[pytest.Item]) -> None:
    """A target's subjects after one, in the order of its tests; none for one without a test."""
    tests = SessionPlan.of(choose(only(items, "subject", "suite[b]"), ""))
    assert list(tests.following("a", "mmlu", "virology")) == ["anatomy"]
    assert list(tests.following("a", "mmlu", "anatomy")) == []
    assert list(tests.following("a", "mmlu", "astronomy")) == []
    assert tests.counts("b", "mmlu", "anatomy")
    assert not tests.counts("b", "mmlu", "astronomy")


def test_a_session_without_tests_of_the_benchmark(items: list[pytest.Item]) -> None:
    """Nothing is told, chosen or asked."""
    chosen = choose(only(items, "theirs"), "")
    assert (names(chosen), chosen.line) == (["test_theirs"], "")
    assert SessionPlan.of(chosen) == SessionPlan()


SEVERAL = """
import pytest

@pytest.fixture
def capgate(): pass

whole = [("a", name, "") for name in ("sums", "mmlu")]
cases = [("a", "sums", "small"), *whole]

@pytest.mark.parametrize(("target", "benchmark_name", "group"), cases)
def test_group(capgate, target, benchmark_name, group): pass

@pytest.mark.parametrize("target", ["a"])
def test_preflight(capgate, target): pass

@pytest.mark.parametrize(("target", "benchmark_name"), [("a", "mmlu"), ("a", "sums"), ("a", "")])
def test_quick(capgate, target, benchmark_name): pass

@pytest.mark.parametrize(("target", "subject"), [("a", "anatomy")])
def test_subject(capgate, target, subject): pass

@pytest.mark.parametrize("target", ["a"])
def test_suite(capgate, target): pass
"""
BENCHMARKS = ("mmlu", "sums")


@pytest.fixture
def several(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[pytest.Item]:
    """The tests of one target on two benchmarks."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester.getitems(SEVERAL)


def test_benchmarks_keep_the_order_asked(several: list[pytest.Item]) -> None:
    """Each benchmark's groups, then the whole of it; the verdict over all last."""
    chosen = choose(several, "", BENCHMARKS)
    assert names(chosen) == [
        "test_preflight[a]",
        "test_subject[a-anatomy]",
        "test_group[a-mmlu-]",
        "test_group[a-sums-small]",
        "test_group[a-sums-]",
        "test_suite[a]",
    ]
    assert len(chosen.left_out) == 3
    plan = SessionPlan.of(chosen, BENCHMARKS)
    assert plan.whole == {("a", "mmlu"), ("a", "sums")}
    assert plan.over_all == {"a"}
    assert list(plan.following("a", "sums", "small")) == []
    assert plan.planned("a", "sums", lambda: ("small", "large")) == {"small", "large"}


def test_a_whole_run_of_one_benchmark_leaves_the_quick_run_of_another(
    several: list[pytest.Item],
) -> None:
    """Only the same benchmark's quick run is left out, and the verdict over all quick runs."""
    some = only(several, "quick", "test_group[a-sums-]")
    chosen = choose(some, "", BENCHMARKS)
    assert names(chosen) == ["test_quick[a-mmlu]", "test_group[a-sums-]"]
    assert SessionPlan.of(chosen, BENCHMARKS).modes == {
        ("a", "mmlu"): "quick",
        ("a", "sums"): "full",
    }


def test_quick_runs_share_the_budget_with_groups_of_their_benchmark_alone(
    several: list[pytest.Item],
) -> None:
    """A quick run that is named beside a group of another benchmark spends its own budget whole."""
    some = only(several, "test_quick[a-mmlu]", "small")
    assert choose(some, "quick", BENCHMARKS).beside_quick == frozenset()
    both = only(several, "test_quick[a-sums]", "small")
    assert choose(both, "quick", BENCHMARKS).beside_quick == {("a", "sums")}


def test_a_suite_of_quick_runs_prefers_them(several: list[pytest.Item]) -> None:
    """Whole runs are left out and that is said; where no quick run is chosen, they stay."""
    chosen = choose(several, "", BENCHMARKS, quick=True)
    assert names(chosen) == [
        "test_preflight[a]",
        "test_quick[a-mmlu]",
        "test_quick[a-sums]",
        "test_quick[a-]",
    ]
    assert "quick runs alone" in chosen.line
    full = choose(only(several, "suite", "group"), "", BENCHMARKS, quick=True)
    assert (len(full.left_out), full.line) == (0, "")
