"""`--confirm`: a second look clears what was chance, keeps what is not, and costs no promise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from capgate.common.answers import AnswerState
from capgate.gate.budget import Budget
from capgate.gate.decide_paired import decide_fixed, judge_domain, judge_subject
from capgate.gate.policy import Policy
from capgate.gate.rows import Pair
from capgate.gate.two_looks import SHARE, confirm_subject, confirm_suite, first_look, second_look
from capgate.gate.verdict import Verdict

C, W = AnswerState.CORRECT, AnswerState.WRONG
POLICY = Policy()
SIZES = (100, 145, 60, 112)


@dataclass(frozen=True)
class Looks:
    """A reference's answers and two looks at a candidate, by subject."""

    first: dict[str, list[Pair]]
    second: dict[str, list[Pair]]


def looks(
    rng: np.random.Generator,
    *,
    subjects: int,
    noise: float,
    lost: float = 0.0,
    kept: float = 1.0,
) -> Looks:
    """Two looks at an unchanged but noisy model, whose first subject may have lost some.

    Args:
        rng: Random numbers.
        subjects: How many, of MMLU's sizes in turn.
        noise: Share of the questions whose answer is tossed anew at every look.
        lost: Share of the first subject's questions that are answered wrongly.
        kept: How much of that loss is still there at the second look.
    """
    first: dict[str, list[Pair]] = {}
    second: dict[str, list[Pair]] = {}
    for number in range(subjects):
        name, n = f"s{number:02d}", SIZES[number % len(SIZES)]
        tossed = rng.random(n) < noise
        truth = rng.random(n) < 0.7

        def look(truth: np.ndarray = truth, tossed: np.ndarray = tossed, n: int = n) -> np.ndarray:
            return np.where(tossed, rng.random(n) < 0.5, truth)

        reference, one, other = look(), look(), look()
        if number == 0 and lost:
            gone = rng.random(n) < lost
            one = one & ~gone
            other = other & ~(gone & (rng.random(n) < kept))
        for into, candidate in ((first, one), (second, other)):
            into[name] = [
                Pair(f"{name}-{i}", name, C if a else W, C if b else W)
                for i, (a, b) in enumerate(zip(reference, candidate, strict=True))
            ]
    return Looks(first, second)


def judge(given: Looks) -> tuple[Verdict, Verdict]:
    """The suite's verdict by the rule of two looks, and by the first look alone."""
    budget = first_look(Budget.whole(POLICY))
    everything = [pair for pairs in given.first.values() for pair in pairs]
    first = decide_fixed(everything, POLICY, budget=budget)
    seconds = {
        one.name: judge_subject(
            given.second[one.name], POLICY, n_subjects=1, budget=second_look(budget)
        )
        for one in first.failed_subjects
    }
    return confirm_suite(first, seconds), first


def test_the_second_look_is_paid_for_beforehand() -> None:
    """Both looks' shares add up to what the policy allows, and not to more."""
    budget = first_look(Budget.whole(POLICY))
    second = second_look(budget)
    spent = budget.pooled + budget.subjects + budget.unparsed + second.subjects
    assert spent == pytest.approx(POLICY.false_alarm)
    assert second.subjects == pytest.approx(SHARE * POLICY.false_alarm)
    assert second.per_subject(1) == second.subjects


def test_an_unchanged_model_fails_no_oftener_than_promised() -> None:
    """300 noisy suites: the rule's false alarms are within 5 %, and within the first look's."""
    rng = np.random.default_rng(5)
    alarms = alone = 0
    for _ in range(300):
        both, first = judge(looks(rng, subjects=4, noise=0.3))
        alarms += both.kind == "REGRESSION"
        alone += first.kind == "REGRESSION"
    assert alarms <= alone
    # 5 % of 300 is 15; 26 is three standard deviations above it.
    assert alarms <= 26


def test_a_collapsed_subject_fails_for_good() -> None:
    """A subject that lost two fifths of its questions is caught at both looks."""
    rng = np.random.default_rng(6)
    caught = [
        judge(looks(rng, subjects=4, noise=0.05, lost=0.4))[0].failed_subjects for _ in range(40)
    ]
    assert sum([one.name for one in named] == ["s00"] for named in caught) >= 38


def test_a_loss_that_is_gone_at_the_second_look_does_not_fail_its_subject() -> None:
    """What a hiccup of the server lost is cleared, and the message says so."""
    rng = np.random.default_rng(7)
    verdict, first = judge(looks(rng, subjects=4, noise=0.0, lost=0.4, kept=0.0))
    assert [one.name for one in first.failed_subjects] == ["s00"]
    assert not verdict.failed_subjects
    assert any("Not confirmed when asked again" in reason for reason in verdict.reasons)


def test_what_was_said_besides_the_gate_is_said_still() -> None:
    """A sentence set before the gate's reasons stands when a second look changes the verdict."""
    pairs = [Pair(f"v{i}", "virology", C, C) for i in range(6000)]
    pairs += [Pair(f"a{i}", "anatomy", C, W if i < 30 else C) for i in range(100)]
    first = decide_fixed(pairs, POLICY, budget=first_look(Budget.whole(POLICY)))
    told = "7 questions were not put, since they could have passed --max-cost."
    bounded = replace(first, reasons=(told, *first.reasons))
    verdict = confirm_suite(bounded, {"anatomy": one_subject(0)})
    assert (first.kind, verdict.kind) == ("REGRESSION", "PASS")
    assert verdict.reasons[0] == told
    assert verdict.reasons.count(told) == 1
    assert "Not confirmed when asked again" in verdict.reasons[-1]


def one_subject(lost: int) -> Verdict:
    """The verdict on one subject of 100 questions."""
    pairs = [Pair(f"q{i}", "anatomy", C, W if i < lost else C) for i in range(100)]
    return judge_subject(pairs, POLICY, n_subjects=57, budget=first_look(Budget.whole(POLICY)))


def test_a_subject_by_itself_follows_the_same_rule() -> None:
    """Both looks must reject; a second look that could not be had leaves the first in force."""
    first = one_subject(30)
    assert first.kind == "lost"
    assert confirm_subject(first, one_subject(30)).kind == "lost"
    cleared = confirm_subject(first, one_subject(0))
    assert (cleared.kind, cleared.fails) == ("too few to tell", False)
    assert cleared.reasons[0].startswith("Not confirmed when asked again")
    dead = Verdict.of_error("the server is gone", scope="subject", subject="anatomy")
    stands = confirm_subject(first, dead)
    assert stands.kind == "lost"
    assert "Could not be confirmed" in stands.reasons[-1]


DOMAINS = {f"s{number:02d}": "arts" if number < 4 else "law" for number in range(8)}


def of_domains(lost: int, *, again: int) -> tuple[Verdict, Verdict]:
    """First and final verdict where each subject of a domain loses some at the first look.

    Args:
        lost: Questions that each subject of the domain loses of its 100.
        again: Of them, those that it loses at the second look as well.
    """

    def answers(gone: int) -> list[Pair]:
        return [
            Pair(f"{name}-{i}", name, C, W if domain == "arts" and i < gone else C)
            for name, domain in DOMAINS.items()
            for i in range(100)
        ]

    budget = first_look(Budget.whole(POLICY, domains=True))
    first = decide_fixed(answers(lost), POLICY, domains=DOMAINS, budget=budget)
    second = [pair for pair in answers(again) if DOMAINS[pair.subject] == "arts"]
    looked = judge_domain(second, POLICY, domain="arts", budget=second_look(budget))
    return first, confirm_suite(first, {}, {"arts": looked})


def test_a_domain_that_is_lost_at_both_looks_stays_lost() -> None:
    """The verdict names it, and says that it was confirmed."""
    first, verdict = of_domains(4, again=4)
    assert [one.name for one in first.failed_domains] == ["arts"]
    assert (first.failed_subjects, verdict.kind) == ((), "REGRESSION")
    assert verdict.failed_domains == first.failed_domains
    assert verdict.reasons[-1] == "Confirmed when asked again: arts."


def test_a_domain_whose_loss_is_gone_at_the_second_look_is_cleared() -> None:
    """It is no longer named, and has the word that the first look's answers leave it."""
    first, verdict = of_domains(4, again=0)
    assert [one.name for one in first.failed_domains] == ["arts"]
    assert [one.word for one in verdict.domains] == ["too few to tell", "kept"]
    assert not any("Domains that lost" in reason for reason in verdict.reasons)
    assert (
        verdict.reasons[-1] == "Not confirmed when asked again, and so not counted as lost: arts."
    )
