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
    agreed,
    by_subject,
    check_policy,
    conclude_subject,
    conclude_suite,
    holm_over,
    judge_unparsed,
    nothing_scored,
    only_subject,
    pooled_kind,
    weakest,
)
from capgate.gate.policy import Budget, Policy
from capgate.gate.rows import Pair, PairCounts, check_rows, count_pairs, readings
from capgate.gate.sight import visible_drop
from capgate.gate.verdict import (
    Evidence,
    SubjectFinding,
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
    ways = readings(pairs)
    read = [count_pairs(way) for way in ways]
    harm = [_drop_above(one, policy.tolerate, budget.pooled) for one in read]
    harmless = [_drop_below(one, policy) for one in read]
    kinds = [
        pooled_kind(above, below, _drop(one), policy)
        for one, above, below in zip(read, harm, harmless, strict=True)
    ]
    unparsed, unparsed_unsure = _unparsed(counts, read, policy, budget)
    subjects, subjects_unsure = _paired_subjects(pairs, ways, policy, budget)
    return conclude_suite(
        replace(
            draft,
            interval=_interval(read),
            evidence=(weakest(harm), weakest(harmless)),
            smallest_visible_drop=_visible_drop(counts, budget.pooled, policy),
            unparsed=unparsed,
            subjects=subjects,
            pooled=agreed(kinds),
            unsure=len(set(kinds)) > 1 or unparsed_unsure or subjects_unsure,
        )
    )


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
    read = [count_pairs(way) for way in readings(pairs)]
    harm = [_drop_above(one, policy.tolerate, share) for one in read]
    draft = replace(
        draft,
        interval=_interval(read),
        evidence=(weakest(harm),),
        smallest_visible_drop=_visible_drop(counts, share, policy),
        unparsed=judge_unparsed(counts, policy, None),
        unsure=len({one.rejected for one in harm}) > 1,
    )
    return conclude_subject(draft, weakest(harm))


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


def _drop_below(counts: PairCounts, policy: Policy) -> Evidence:
    """Returns the test of "drop ≥ catch"."""
    return Evidence.from_p(
        harmless_hypothesis(policy.catch),
        "Tango 1998 score test",
        stats.tango_p_below(counts.losses, counts.gains, counts.n, policy.catch),
        policy.miss,
    )


def _drop(counts: PairCounts) -> float:
    return (counts.losses - counts.gains) / counts.n


def _interval(read: Sequence[PairCounts]) -> stats.Interval:
    """Returns the interval that holds the drop on every reading of the answers."""
    return stats.hull([stats.tango_interval(one.losses, one.gains, one.n) for one in read])


def _unparsed(
    counts: PairCounts, read: Sequence[PairCounts], policy: Policy, budget: Budget
) -> tuple[UnparsedFinding | None, bool]:
    """Returns the finding on unreadable answers, and whether it hinges on missing ones.

    Args:
        counts: Counts of the answers as they are.
        read: Counts on each reading of them.
        policy: The policy.
        budget: Error shares.
    """
    if not budget.unparsed:
        return judge_unparsed(counts, policy, None), False
    tests = [
        Evidence.from_p(
            "no more unreadable answers",
            "exact McNemar on parsed",
            stats.mcnemar_exact(one.newly_unparsed, one.newly_parsed),
            budget.unparsed,
        )
        for one in read
    ]
    found = [judge_unparsed(one, policy, test) for one, test in zip(read, tests, strict=True)]
    fails = [one is not None and one.failed for one in found]
    finding = judge_unparsed(counts, policy, weakest(tests))
    return finding and replace(finding, failed=all(fails)), any(fails) and not all(fails)


def _visible_drop(counts: PairCounts, share: float, policy: Policy) -> float | None:
    return visible_drop(
        counts.n,
        discordance=(counts.losses + counts.gains) / counts.n,
        alpha=share,
        power=1.0 - policy.miss,
        tolerate=policy.tolerate,
    )


def _paired_subjects(
    pairs: Sequence[Pair], ways: Sequence[Sequence[Pair]], policy: Policy, budget: Budget
) -> tuple[tuple[SubjectFinding, ...], bool]:
    """Returns the subjects' findings, and whether one of them hinges on missing answers."""
    if not budget.subjects:
        return (), False
    groups = by_subject(pairs)
    share = budget.per_subject(len(groups))
    found: list[list[SubjectFinding]] = []
    for way in ways:
        mine: list[SubjectFinding] = []
        for subject, rows in sorted(by_subject(way).items()):
            own, counts, read = (
                policy.for_subject(subject),
                count_pairs(groups[subject]),
                count_pairs(rows),
            )
            mine.append(
                SubjectFinding(
                    subject=subject,
                    n=counts.n,
                    losses=counts.losses,
                    gains=counts.gains,
                    drop=counts.drop or 0.0,
                    p=_drop_above(read, own.tolerate, share).value,
                    p_holm=1.0,
                    failed=False,
                    smallest_visible_drop=_visible_drop(counts, share, own) if counts.n else None,
                )
            )
        found.append(mine)
    subjects, unsure = holm_over(found, budget)
    return tuple(one for one in subjects if one.n), unsure
