"""Subjects and domains: what is said of each, within one total of false alarms."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from capgate.benchmarks.mmlu.subjects import DOMAINS as MMLU
from capgate.common.answers import AnswerState as State
from capgate.gate.budget import Budget
from capgate.gate.decide_floor import Floor, decide_floor
from capgate.gate.decide_paired import decide_fixed, judge_domain, judge_subject
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair, Single
from capgate.gate.stats import holm
from capgate.gate.verdict import Verdict

DOMAINS = {f"{domain}{i}": domain for domain in ("arts", "law", "sums") for i in range(8)}
"""Three domains of eight subjects, in place of a benchmark's."""

KINDS = {
    "same": (State.CORRECT, State.CORRECT),
    "lost": (State.CORRECT, State.WRONG),
    "gained": (State.WRONG, State.CORRECT),
    "errors": (State.CORRECT, State.ERROR),
    "unread": (State.WRONG, State.UNPARSED),
}


def subject(name: str, **counts: int) -> list[Pair]:
    """A subject's answers, so many of each kind."""
    states = [KINDS[kind] for kind, n in counts.items() for _ in range(n)]
    return [Pair(f"{name}-{i}", name, *both) for i, both in enumerate(states)]


def benchmark(
    *, size: int = 50, lost: Mapping[str, int] | None = None, **others: int
) -> list[Pair]:
    """All subjects with `size` answers each; `lost` names how many each of a domain's loses."""
    rows: list[Pair] = []
    for name, domain in DOMAINS.items():
        n = (lost or {}).get(domain, 0)
        rows += subject(name, lost=n, same=size - n, **others)
    return rows


def words(verdict: Verdict) -> dict[str, str]:
    """Domain to its word."""
    return {one.name: one.word for one in verdict.domains}


def test_a_domain_is_lost_though_no_subject_of_it_shows_anything() -> None:
    """Two of fifty in each of eight subjects: chance in each of them, and none in their domain."""
    verdict = decide_fixed(benchmark(lost={"arts": 2}), Policy(), domains=DOMAINS)
    assert verdict.kind == "REGRESSION"
    assert not verdict.failed_subjects
    assert [one.name for one in verdict.failed_domains] == ["arts"]
    assert "Domains that lost (Holm over 24 subjects and 3 domains): arts (4.0 points)." in (
        verdict.reasons
    )


def test_each_domain_has_a_word_of_its_own() -> None:
    """Lost, kept where a loss of `catch` is ruled out, and else too few to tell."""
    few = {f"law{i}" for i in range(2, 8)}
    rows = [row for row in benchmark(lost={"arts": 3}) if row.subject not in few]
    verdict = decide_fixed(rows, Policy(), domains=DOMAINS)
    assert words(verdict) == {"arts": "lost", "law": "too few to tell", "sums": "kept"}
    assert {one["domain"]: one["word"] for one in verdict.to_dict()["domains"]} == words(verdict)


def test_a_domain_s_own_override_judges_it() -> None:
    """What `domains:` of the policy says of a domain holds for the domain's own test."""
    rows = benchmark(lost={"law": 2})
    # A policy's file knows MMLU's names only.
    stem = {name: "stem" if domain == "law" else domain for name, domain in DOMAINS.items()}
    tolerant = Policy.model_validate(
        {"domains": {"stem": {"tolerate": 0.04, "catch": 0.09, "reason": "they differ"}}}
    )
    assert words(decide_fixed(rows, tolerant, domains=stem))["stem"] == "kept"
    assert words(decide_fixed(rows, Policy(), domains=stem))["stem"] == "lost"


def test_one_subject_of_a_domain_is_not_tested_twice() -> None:
    """A domain of which one subject was asked is that subject's test already."""
    rows = subject("arts0", same=50) + subject("law0", same=50) + subject("law1", same=50)
    verdict = decide_fixed(rows, Policy(), domains=DOMAINS)
    assert [one.name for one in verdict.domains] == ["law"]
    alone = decide_fixed(subject("arts0", same=50), Policy(), domains=DOMAINS)
    assert (alone.domains, alone.budget) == ((), Budget.whole(Policy()))


def test_subjects_and_domains_share_what_the_subjects_had() -> None:
    """The total is spent as before; the domains' part comes out of the subjects'."""
    verdict = decide_fixed(benchmark(), Policy(), domains=DOMAINS)
    budget, before = verdict.budget, Budget.whole(Policy())
    assert budget is not None
    assert budget.groups == pytest.approx(before.subjects)
    assert budget.pooled + budget.groups + budget.unparsed == pytest.approx(budget.total)
    assert "subjects together 0.009375 + domains together 0.003125" in str(budget)
    half = budget.reserve(0.5)
    assert half.pooled + half.groups + half.unparsed + half.reserved == pytest.approx(budget.total)


@pytest.mark.parametrize("lost", range(5, 16))
def test_a_subject_that_fails_by_itself_is_named_by_the_suite(lost: int) -> None:
    """Its own test's share is its weight in Holm's procedure, so the two can't disagree."""
    own = subject("arts0", lost=lost, same=50 - lost)
    rows = [row for row in benchmark() if row.subject != "arts0"] + own
    suite = decide_fixed(rows, Policy(), domains=DOMAINS)
    alone = judge_subject(own, Policy(), n_subjects=len(DOMAINS), budget=suite.budget)
    if alone.kind == "lost":
        assert "arts0" in [one.name for one in suite.failed_subjects]


def test_a_group_with_too_many_errors_says_so() -> None:
    """It proves nothing either way: INCONCLUSIVE, and neither kept nor too few."""
    rows = [*benchmark(size=400), Pair("gone", "arts0", State.WRONG, State.ERROR)]
    rows += [Pair(f"gone{i}", "arts1", State.WRONG, State.ERROR) for i in range(30)]
    verdict = decide_fixed(rows, Policy(), domains=DOMAINS)
    assert words(verdict) == {"arts": "INCONCLUSIVE", "law": "kept", "sums": "kept"}
    found = {one.name: one.word for one in verdict.subjects}
    assert (found["arts0"], found["arts1"]) == ("kept", "INCONCLUSIVE")


def test_a_group_of_unreadable_answers_says_so() -> None:
    """Answers that can't be read on either side are no agreement."""
    rows = [row for row in benchmark(size=400) if row.subject != "law0"]
    rows += subject("law0", same=100, unread=200)
    found = {one.name: one.word for one in decide_fixed(rows, Policy(), domains=DOMAINS).subjects}
    assert (found["law0"], found["law1"]) == ("INCONCLUSIVE", "kept")


def test_domains_are_held_to_their_floors() -> None:
    """A domain is judged against a floor where its own entry names one, else not."""
    policy = Policy.model_validate({"domains": {"stem": {"floor": 0.7}, "other": {"floor": 0.5}}})
    rows: list[Single] = []
    grouped: dict[str, str] = {}
    for domain in ("stem", "humanities", "other"):
        for name in MMLU[domain][:8]:
            grouped[name] = domain
            rows += [
                Single(f"{name}-{i}", name, State.CORRECT if i % 5 < 3 else State.WRONG)
                for i in range(40)
            ]
    verdict = decide_floor(rows, Floor(0.58), policy.grouped(grouped), domains=grouped)
    assert words(verdict) == {"other": "kept", "stem": "lost"}
    assert "Domains that lost" in verdict.reasons[0]
    assert not decide_floor(rows, Floor(0.58), Policy(), domains=grouped).domains


def test_a_second_look_at_a_domain_uses_the_whole_of_its_share() -> None:
    """Judged alone at the share set aside, and by the domain's own policy."""
    budget = Budget(0.05, 0.0, 0.01, 0.0, domains=0.01)
    rows = [row for row in benchmark(lost={"arts": 1}) if DOMAINS[row.subject] == "arts"]
    verdict = judge_domain(rows, Policy(), domain="arts", budget=budget)
    assert (verdict.kind, verdict.scope, verdict.subject) == ("lost", "domain", "arts")
    strict = judge_domain(rows, Policy(), domain="arts", budget=budget.reserve(0.9))
    assert strict.kind == "too few to tell"


def test_weighted_holm_is_holm_where_weights_are_equal() -> None:
    """And with weights each p-value is measured by its own."""
    p = [0.01, 0.04, 0.03]
    assert holm(p, [2.0, 2.0, 2.0]) == pytest.approx(holm(p))
    # By hand: 0.01/1 comes first at 4/1, then 0.04/2 at 3/2, then 0.03/1 at 1/1, but no less.
    assert holm(p, [1.0, 2.0, 1.0]) == pytest.approx((0.04, 0.06, 0.06))
    with pytest.raises(ValueError, match="positive weight"):
        holm(p, [1.0, 0.0, 1.0])
