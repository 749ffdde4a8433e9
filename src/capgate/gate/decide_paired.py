"""Verdicts at a fixed number of questions, question by question against a reference.

    decide_fixed(pairs, policy, reference="baseline")            # the suite
    judge_subject(pairs_of_anatomy, policy, n_subjects=57)       # one pytest test by itself
    judge_domain(pairs_of_stem, policy, domain="stem", budget=budget)

Each raises `RowsError` for answers that can't be judged; none touches files, clocks or pytest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from capgate.common.nouns import SUBJECTS, Nouns
from capgate.gate import stats
from capgate.gate.budget import Budget
from capgate.gate.comparison import Comparison
from capgate.gate.conclude import check_policy, judge_unparsed, weakest
from capgate.gate.groups import judged_domains
from capgate.gate.length import judge_length
from capgate.gate.policy import Policy
from capgate.gate.power import visible_drop
from capgate.gate.rows import Pair, PairCounts, check_rows, count_pairs
from capgate.gate.verdict import (
    Evidence,
    LengthFinding,
    UnparsedFinding,
    Verdict,
    harm_hypothesis,
    harmless_hypothesis,
)

PairedReference = Literal["base", "baseline"]


def decide_fixed(
    pairs: Sequence[Pair],
    policy: Policy,
    *,
    reference: PairedReference = "base",
    domains: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    nouns: Nouns = SUBJECTS,
) -> Verdict:
    """Decides on all answers of a benchmark, question by question against a reference.

    Args:
        pairs: Both sides' answers; their order does not matter.
        policy: With the target's overrides already in force (`policy.for_target`).
        reference: What the reference is.
        domains: Subject to its domain; without it no domain is judged.
        budget: How the false-alarm share is divided; by default `Budget.whole`. One without a
            domains' share judges no domain.
        nouns: What the benchmark's groups are called.

    Returns:
        PASS, REGRESSION or INCONCLUSIVE, with a finding for each subject and domain.

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy contradicts itself.
    """
    check_policy(policy)
    check_rows(pairs)
    members = judged_domains({row.subject for row in pairs}, domains or {})
    budget = budget or Budget.whole(policy, domains=bool(members))
    return _Paired(reference).judge_suite(pairs, policy, members, budget, nouns)


def judge_subject(
    pairs: Sequence[Pair],
    policy: Policy,
    *,
    n_subjects: int,
    reference: PairedReference = "base",
    budget: Budget | None = None,
) -> Verdict:
    """Judges one subject by itself, at its Bonferroni share of the suite's budget.

    It is `lost` on evidence only, and `kept` only where a loss of its own `catch` is ruled out;
    else its questions are `too few to tell`, and the verdict says how large a drop they could
    have shown.

    Args:
        pairs: Both sides' answers to the subject's questions.
        policy: The target's policy; the subject's overrides are applied here.
        n_subjects: Subjects of the whole run, among which the share is divided.
        reference: What the reference is.
        budget: By default `Budget.whole`. Where the suite's test judges domains it must hold
            their share, so that both together keep to the groups' share.

    Raises:
        RowsError: If the rows can't be judged or are of several subjects.
        ConfigError: If the policy contradicts itself.
    """
    budget = budget or Budget.whole(policy)
    return _Paired(reference).judge_subject(pairs, policy, n_subjects, budget)


def judge_domain(
    pairs: Sequence[Pair],
    policy: Policy,
    *,
    domain: str,
    budget: Budget,
    reference: PairedReference = "base",
) -> Verdict:
    """Judges one domain by itself, at the whole domains' share of a budget.

    Args:
        pairs: Both sides' answers to the domain's questions.
        policy: The target's policy; the domain's overrides are applied here.
        domain: Its name.
        budget: The one of a second look (`two_looks`).
        reference: What the reference is.

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy contradicts itself.
    """
    return _Paired(reference).judge_domain(pairs, policy, domain, budget)


class _Paired(Comparison[Pair, PairCounts]):
    """The comparison question by question with a base or a baseline."""

    def count(self, rows: Sequence[Pair]) -> PairCounts:
        return count_pairs(rows)

    def drop(self, counts: PairCounts) -> float:
        return counts.drop or 0.0

    def interval(self, read: Sequence[PairCounts]) -> stats.Interval:
        return stats.hull([stats.tango_interval(one.losses, one.gains, one.n) for one in read])

    def harm(self, counts: PairCounts, policy: Policy, share: float) -> Evidence:
        """Exact McNemar, and Tango's test as well where a drop is tolerated.

        Both are required then, so that no drop is significant which would not be so if none were
        tolerated; the two rank outcomes differently.
        """
        tolerate = policy.tolerate
        p = stats.mcnemar_exact(counts.losses, counts.gains)
        method = "exact McNemar"
        if tolerate > 0.0:
            p = max(p, stats.tango_p_above(counts.losses, counts.gains, counts.n, tolerate))
            method = "exact test by Tango's score, and exact McNemar"
        return Evidence.from_p(harm_hypothesis(tolerate), method, p, share)

    def harmless(self, counts: PairCounts, policy: Policy, share: float) -> Evidence:
        p = stats.tango_p_below(counts.losses, counts.gains, counts.n, policy.catch)
        return Evidence.from_p(harmless_hypothesis(policy.catch), "Tango 1998 score test", p, share)

    def visible(self, counts: PairCounts, policy: Policy, share: float) -> float | None:
        return visible_drop(
            counts.n,
            discordance=(counts.losses + counts.gains) / counts.n,
            alpha=share,
            power=1.0 - policy.miss,
            tolerate=policy.tolerate,
        )

    def unparsed(
        self, counts: PairCounts, read: Sequence[PairCounts], policy: Policy, share: float
    ) -> tuple[UnparsedFinding | None, bool]:
        if not share:
            return judge_unparsed(counts, policy, None), False
        tests = [
            Evidence.from_p(
                "no more unreadable answers",
                "exact McNemar on parsed",
                stats.mcnemar_exact(one.newly_unparsed, one.newly_parsed),
                share,
            )
            for one in read
        ]
        found = [judge_unparsed(one, policy, test) for one, test in zip(read, tests, strict=True)]
        fails = [one is not None and one.failed for one in found]
        finding = judge_unparsed(counts, policy, weakest(tests))
        return finding and replace(finding, failed=all(fails)), any(fails) and not all(fails)

    def length(self, rows: Sequence[Pair], policy: Policy, share: float) -> LengthFinding | None:
        return judge_length(rows, policy, share) if share else None

    def within(self, policy: Policy) -> _Paired:  # noqa: ARG002
        return self
