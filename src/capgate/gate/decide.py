"""Verdicts at a fixed number of questions, question by question against a reference.

    decide_fixed(pairs, policy, reference="baseline")            # the suite
    judge_subject(pairs_of_anatomy, policy, n_subjects=57)       # one pytest test by itself

Each raises `RowsError` for answers that can't be judged; none touches files, clocks or pytest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from capgate.gate import stats
from capgate.gate.conclude import (
    by_subject,
    check_policy,
    conclude_subject,
    conclude_suite,
    holm_over,
    judge_unparsed,
    nothing_scored,
    only_subject,
)
from capgate.gate.policy import Budget, Policy
from capgate.gate.rows import Pair, PairCounts, check_rows, count_pairs
from capgate.gate.sight import visible_drop
from capgate.gate.verdict import (
    Evidence,
    SubjectFinding,
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
    budget: Budget | None = None,
) -> Verdict:
    """Decides on all answers of a benchmark, question by question against a reference.

    Args:
        pairs: Both sides' answers; their order does not matter.
        policy: With the target's overrides already in force (`policy.for_target`).
        reference: What the reference is.
        budget: How the false-alarm share is divided; by default `Budget.whole`.

    Returns:
        PASS, REGRESSION or INCONCLUSIVE, with a finding for each subject.

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy contradicts itself.
    """
    check_policy(policy)
    check_rows(pairs)
    budget = budget or Budget.whole(policy)
    counts = count_pairs(pairs)
    draft = Verdict(
        kind="INCONCLUSIVE",
        scope="suite",
        reasons=(),
        reference=reference,
        counts=counts,
        drop=counts.drop,
        budget=budget,
        policy=policy,
    )
    if not counts.n:
        return replace(draft, reasons=(nothing_scored(counts),))
    harm = _drop_above(counts, policy.tolerate, budget.pooled)
    harmless = Evidence.from_p(
        harmless_hypothesis(policy.catch),
        "Tango 1998 score test",
        stats.tango_p_below(counts.losses, counts.gains, counts.n, policy.catch),
        policy.miss,
    )
    draft = replace(
        draft,
        interval=stats.tango_interval(counts.losses, counts.gains, counts.n),
        evidence=(harm, harmless),
        smallest_visible_drop=_visible_drop(counts, budget.pooled, policy),
        unparsed=judge_unparsed(
            counts,
            policy,
            Evidence.from_p(
                "no more unreadable answers",
                "exact McNemar on parsed",
                stats.mcnemar_exact(counts.newly_unparsed, counts.newly_parsed),
                budget.unparsed,
            )
            if budget.unparsed
            else None,
        ),
        subjects=_paired_subjects(pairs, policy, budget),
    )
    return conclude_suite(draft, harm, harmless)


def judge_subject(
    pairs: Sequence[Pair],
    policy: Policy,
    *,
    n_subjects: int,
    reference: PairedReference = "base",
    budget: Budget | None = None,
) -> Verdict:
    """Judges one subject by itself, at its Bonferroni share of the suite's budget.

    A subject fails on evidence only: few questions make it pass, and the verdict says how
    large a drop they could have shown.

    Args:
        pairs: Both sides' answers to the subject's questions.
        policy: The target's policy; the subject's overrides are applied here.
        n_subjects: Subjects of the whole run, among which the share is divided.
        reference: What the reference is.
        budget: By default `Budget.whole`.

    Raises:
        RowsError: If the rows can't be judged or are of several subjects.
        ConfigError: If the policy contradicts itself.
    """
    subject = only_subject(pairs)
    share = (budget or Budget.whole(policy)).per_subject(n_subjects)
    policy = policy.for_subject(subject)
    check_policy(policy)
    counts = count_pairs(pairs)
    draft = Verdict(
        kind="INCONCLUSIVE",
        scope="subject",
        subject=subject,
        reasons=(),
        reference=reference,
        counts=counts,
        drop=counts.drop,
        budget=budget or Budget.whole(policy),
        policy=policy,
    )
    if not counts.n:
        return replace(draft, reasons=(nothing_scored(counts),))
    harm = _drop_above(counts, policy.tolerate, share)
    draft = replace(
        draft,
        interval=stats.tango_interval(counts.losses, counts.gains, counts.n),
        evidence=(harm,),
        smallest_visible_drop=_visible_drop(counts, share, policy),
        unparsed=judge_unparsed(counts, policy, None),
    )
    return conclude_subject(draft, harm)


def _drop_above(counts: PairCounts, tolerate: float, share: float) -> Evidence:
    """Returns the test of "drop ≤ tolerate": exact McNemar, and Tango's where a drop is tolerated.

    Both are required then, so that no drop is significant which would not be so if none were
    tolerated; the two rank outcomes differently.
    """
    p = stats.mcnemar_exact(counts.losses, counts.gains)
    method = "exact McNemar"
    if tolerate > 0.0:
        p = max(p, stats.tango_p_above(counts.losses, counts.gains, counts.n, tolerate))
        method = "exact test by Tango's score, and exact McNemar"
    return Evidence.from_p(harm_hypothesis(tolerate), method, p, share)


def _visible_drop(counts: PairCounts, share: float, policy: Policy) -> float | None:
    return visible_drop(
        counts.n,
        discordance=(counts.losses + counts.gains) / counts.n,
        alpha=share,
        power=1.0 - policy.miss,
        tolerate=policy.tolerate,
    )


def _paired_subjects(
    pairs: Sequence[Pair], policy: Policy, budget: Budget
) -> tuple[SubjectFinding, ...]:
    if not budget.subjects:
        return ()
    found: list[SubjectFinding] = []
    groups = by_subject(pairs)
    for subject, rows in sorted(groups.items()):
        counts = count_pairs(rows)
        if not counts.n:
            continue
        own = policy.for_subject(subject)
        share = budget.per_subject(len(groups))
        found.append(
            SubjectFinding(
                subject=subject,
                n=counts.n,
                losses=counts.losses,
                gains=counts.gains,
                drop=(counts.losses - counts.gains) / counts.n,
                p=_drop_above(counts, own.tolerate, share).value,
                p_holm=1.0,
                failed=False,
                smallest_visible_drop=_visible_drop(counts, share, own),
            )
        )
    return holm_over(found, budget)
