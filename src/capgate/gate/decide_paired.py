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

from capgate.common.grouping import by_subject
from capgate.gate import stats
from capgate.gate.conclude import (
    agreed,
    check_policy,
    conclude_group,
    conclude_suite,
    judge_unparsed,
    nothing_scored,
    only_subject,
    pooled_kind,
    weakest,
)
from capgate.gate.groups import JudgedGroups, holm_over, judged_domains, rows_of, word_for
from capgate.gate.policy import Budget, Policy
from capgate.gate.power import visible_drop
from capgate.gate.rows import Pair, PairCounts, check_rows, count_pairs, readings
from capgate.gate.verdict import (
    Evidence,
    GroupFinding,
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
) -> Verdict:
    """Decides on all answers of a benchmark, question by question against a reference.

    Args:
        pairs: Both sides' answers; their order does not matter.
        policy: With the target's overrides already in force (`policy.for_target`).
        reference: What the reference is.
        domains: Subject to its domain; without it no domain is judged.
        budget: How the false-alarm share is divided; by default `Budget.whole`. One without a
            domains' share judges no domain.

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
    harmless = [_drop_below(one, policy, budget.miss(policy)) for one in read]
    kinds = [
        pooled_kind(above, below, _drop(one), policy)
        for one, above, below in zip(read, harm, harmless, strict=True)
    ]
    unparsed, unparsed_unsure = _unparsed(counts, read, policy, budget)
    judged = _paired_groups(pairs, ways, members, policy, budget)
    return conclude_suite(
        replace(
            draft,
            interval=_interval(read),
            evidence=(weakest(harm), weakest(harmless)),
            smallest_visible_drop=_visible_drop(counts, budget.pooled, policy),
            unparsed=unparsed,
            subjects=judged.subjects,
            domains=judged.domains,
            pooled=agreed(kinds),
            unsure=len(set(kinds)) > 1 or unparsed_unsure or judged.unsure,
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
    subject = only_subject(pairs)
    budget = budget or Budget.whole(policy)
    draft = Verdict(
        kind="INCONCLUSIVE",
        scope="subject",
        subject=subject,
        reasons=(),
        reference=reference,
        budget=budget,
        policy=policy.for_subject(subject),
    )
    return _judge_group(pairs, draft, budget.per_subject(n_subjects))


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
        budget: The one of a second look (`confirm.second_look`).
        reference: What the reference is.

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy contradicts itself.
    """
    check_rows(pairs)
    draft = Verdict(
        kind="INCONCLUSIVE",
        scope="domain",
        subject=domain,
        reasons=(),
        reference=reference,
        budget=budget,
        policy=policy.for_domain(domain),
    )
    return _judge_group(pairs, draft, budget.per_domain(1))


def _judge_group(pairs: Sequence[Pair], draft: Verdict, share: float) -> Verdict:
    """Returns the verdict on one group at a share; the draft holds the group's own policy."""
    policy = draft.policy
    assert policy is not None
    check_policy(policy)
    counts = count_pairs(pairs)
    draft = replace(draft, counts=counts, drop=counts.drop)
    if not counts.n:
        return replace(draft, reasons=(nothing_scored(counts),))
    read = [count_pairs(way) for way in readings(pairs)]
    harm = [_drop_above(one, policy.tolerate, share) for one in read]
    harmless = [_drop_below(one, policy, policy.miss) for one in read]
    draft = replace(
        draft,
        interval=_interval(read),
        evidence=(weakest(harm), weakest(harmless)),
        smallest_visible_drop=_visible_drop(counts, share, policy),
        unparsed=judge_unparsed(counts, policy, None),
        unsure=len({one.rejected for one in harm}) > 1,
    )
    return conclude_group(draft, weakest(harm), weakest(harmless))


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


def _drop_below(counts: PairCounts, policy: Policy, share: float) -> Evidence:
    """Returns the test of "drop ≥ catch"."""
    return Evidence.from_p(
        harmless_hypothesis(policy.catch),
        "Tango 1998 score test",
        stats.tango_p_below(counts.losses, counts.gains, counts.n, policy.catch),
        share,
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


def _paired_groups(
    pairs: Sequence[Pair],
    ways: Sequence[Sequence[Pair]],
    members: Mapping[str, Sequence[str]],
    policy: Policy,
    budget: Budget,
) -> JudgedGroups:
    """Returns the findings on subjects and domains.

    Args:
        pairs: The answers as they are.
        ways: The readings of them.
        members: Domain that is judged to its subjects.
        policy: The target's.
        budget: Error shares.
    """
    if not budget.subjects:
        return JudgedGroups((), (), False)
    groups = by_subject(pairs)
    share = budget.per_subject(len(groups))
    domain_share = budget.per_domain(len(members)) if budget.domains and members else None
    found: list[tuple[list[GroupFinding], list[GroupFinding]]] = []
    for way in ways:
        read = by_subject(way)
        subjects = [
            _finding(name, rows, read[name], policy.for_subject(name), share)
            for name, rows in sorted(groups.items())
        ]
        domains = [
            _finding(
                name,
                rows_of(groups, mine),
                rows_of(read, mine),
                policy.for_domain(name),
                domain_share,
            )
            for name, mine in members.items()
            if domain_share
        ]
        found.append((subjects, domains))
    return holm_over(found, budget)


def _finding(
    name: str, pairs: Sequence[Pair], way: Sequence[Pair], policy: Policy, share: float
) -> GroupFinding:
    """Returns what one group's answers say on one reading of them, before Holm."""
    counts, read = count_pairs(pairs), count_pairs(way)
    p_catch = _drop_below(read, policy, policy.miss).value
    return GroupFinding(
        name=name,
        n=counts.n,
        losses=counts.losses,
        gains=counts.gains,
        drop=counts.drop or 0.0,
        p=_drop_above(read, policy.tolerate, share).value,
        p_holm=1.0,
        p_catch=p_catch,
        word=word_for(counts, policy, p_catch),
        smallest_visible_drop=_visible_drop(counts, share, policy) if counts.n else None,
    )
