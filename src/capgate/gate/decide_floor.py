"""Verdicts against a demanded or published accuracy, where nothing can be paired.

    decide_floor(singles, Floor(0.65), policy)
    judge_subject_floor(singles_of_anatomy, Floor(0.5), policy, n_subjects=57)

The drop is `floor − accuracy`; every test is the exact binomial one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from capgate.common.errors import ConfigError
from capgate.common.grouping import by_subject
from capgate.gate import stats
from capgate.gate.conclude import (
    agreed,
    check_policy,
    conclude_group,
    conclude_suite,
    nothing_scored,
    only_subject,
    pooled_kind,
    weakest,
)
from capgate.gate.groups import JudgedGroups, floor_domains, holm_over, rows_of, word_for
from capgate.gate.policy import Budget, Policy
from capgate.gate.power import visible_shortfall
from capgate.gate.rows import FloorCounts, Single, check_rows, count_singles, readings
from capgate.gate.verdict import Evidence, GroupFinding, UnparsedFinding, Verdict


@dataclass(frozen=True, slots=True)
class Floor:
    """An accuracy that is demanded.

    Attributes:
        accuracy: As a fraction, in (0, 1), any tolerance already taken off.
        kind: `floor` where somebody demands it, `published` where it is a published score.
        source: Where the figure comes from.
    """

    accuracy: float
    kind: Literal["floor", "published"] = "floor"
    source: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.accuracy < 1.0:
            raise ConfigError(
                f"a floor is an accuracy between 0 and 1, not {self.accuracy}",
                remedy="write 65 % as 0.65",
            )


def decide_floor(
    singles: Sequence[Single],
    floor: Floor,
    policy: Policy,
    *,
    domains: Mapping[str, str] | None = None,
    budget: Budget | None = None,
) -> Verdict:
    """Decides on all answers of a benchmark against a demanded accuracy.

    The drop is `floor − accuracy`; both hypotheses are tested exactly. Subjects are tested where
    the policy names a floor for them or their domain, domains where it names one for them.

    Args:
        singles: The candidate's answers; their order does not matter.
        floor: The accuracy demanded.
        policy: With the target's overrides already in force (`policy.for_target`).
        domains: Subject to its domain; without it no domain is judged.
        budget: How the false-alarm share is divided; by default `Budget.whole`.

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy or the floor contradicts itself.
    """
    check_policy(policy)
    check_floor(floor, policy)
    check_rows(singles)
    members = floor_domains({row.subject for row in singles}, domains or {}, policy)
    budget = budget or Budget.whole(policy, paired=False, domains=bool(members))
    counts = count_singles(singles)
    draft = Verdict(
        kind="INCONCLUSIVE",
        scope="suite",
        reasons=(),
        reference=floor.kind,
        counts=counts,
        floor=floor.accuracy,
        budget=budget,
        policy=policy,
    )
    if not counts.n:
        return replace(draft, reasons=(nothing_scored(counts),))
    ways = readings(singles)
    read = [count_singles(way) for way in ways]
    harm = [shortfall_above(one, floor, policy.tolerate, budget.pooled) for one in read]
    harmless = [_shortfall_below(one, floor, policy, budget.miss(policy)) for one in read]
    kinds = [
        pooled_kind(above, below, floor.accuracy - one.correct / one.n, policy)
        for one, above, below in zip(read, harm, harmless, strict=True)
    ]
    judged = _floor_groups(singles, ways, members, policy, budget)
    return conclude_suite(
        replace(
            _with_numbers(draft, counts, read, floor, budget.pooled, policy),
            evidence=(weakest(harm), weakest(harmless)),
            subjects=judged.subjects,
            domains=judged.domains,
            pooled=agreed(kinds),
            unsure=judged.unsure or len(set(kinds)) > 1,
        )
    )


def judge_subject_floor(
    singles: Sequence[Single],
    floor: Floor,
    policy: Policy,
    *,
    n_subjects: int,
    budget: Budget | None = None,
) -> Verdict:
    """Judges one subject against its floor, at its Bonferroni share (see `judge_subject`).

    Raises:
        RowsError: If the rows can't be judged or are of several subjects.
        ConfigError: If the policy contradicts itself.
    """
    subject = only_subject(singles)
    budget = budget or Budget.whole(policy, paired=False)
    draft = Verdict(
        kind="INCONCLUSIVE",
        scope="subject",
        subject=subject,
        reasons=(),
        reference=floor.kind,
        budget=budget,
        policy=policy.for_subject(subject),
    )
    return _judge_group(singles, floor, draft, budget.per_subject(n_subjects))


def judge_domain_floor(
    singles: Sequence[Single], floor: Floor, policy: Policy, *, domain: str, budget: Budget
) -> Verdict:
    """Judges one domain against its floor (see `decide.judge_domain`).

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy contradicts itself.
    """
    check_rows(singles)
    draft = Verdict(
        kind="INCONCLUSIVE",
        scope="domain",
        subject=domain,
        reasons=(),
        reference=floor.kind,
        budget=budget,
        policy=policy.for_domain(domain),
    )
    return _judge_group(singles, floor, draft, budget.per_domain(1))


def _judge_group(singles: Sequence[Single], floor: Floor, draft: Verdict, share: float) -> Verdict:
    """Returns the verdict on one group at a share; the draft holds the group's own policy."""
    policy = draft.policy
    assert policy is not None
    check_policy(policy)
    check_floor(floor, policy)
    counts = count_singles(singles)
    draft = replace(draft, counts=counts, floor=floor.accuracy)
    if not counts.n:
        return replace(draft, reasons=(nothing_scored(counts),))
    read = [count_singles(way) for way in readings(singles)]
    harm = [shortfall_above(one, floor, policy.tolerate, share) for one in read]
    harmless = [_shortfall_below(one, floor, policy, policy.miss) for one in read]
    draft = replace(
        _with_numbers(draft, counts, read, floor, share, policy),
        evidence=(weakest(harm), weakest(harmless)),
        unsure=len({one.rejected for one in harm}) > 1,
    )
    return conclude_group(draft, weakest(harm), weakest(harmless))


def check_floor(floor: Floor, policy: Policy) -> None:
    """Makes sure that a drop of `catch` below the floor is still an accuracy.

    Raises:
        ConfigError: If it is not.
    """
    if floor.accuracy <= policy.catch:
        raise ConfigError(
            f"the floor {floor.accuracy:g} is not above catch ({policy.catch:g})",
            remedy="state the floor as a fraction, 65 % as 0.65, or lower `catch`",
        )


def shortfall_above(counts: FloorCounts, floor: Floor, tolerate: float, share: float) -> Evidence:
    at_least = max(floor.accuracy - tolerate, 0.0)
    p = stats.binomial_below(counts.correct, counts.n, at_least)
    return Evidence.from_p(f"at least {_percent(at_least)} right", "exact binomial", p, share)


def _shortfall_below(counts: FloorCounts, floor: Floor, policy: Policy, share: float) -> Evidence:
    """Returns the test of "the accuracy is `catch` or more under the floor"."""
    at_most = max(floor.accuracy - policy.catch, 0.0)
    p = stats.binomial_above(counts.correct, counts.n, at_most)
    return Evidence.from_p(f"at most {_percent(at_most)} right", "exact binomial", p, share)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _with_numbers(
    draft: Verdict,
    counts: FloorCounts,
    read: Sequence[FloorCounts],
    floor: Floor,
    share: float,
    policy: Policy,
) -> Verdict:
    low, high, level = stats.hull([stats.clopper_pearson(one.correct, one.n) for one in read])
    return replace(
        draft,
        drop=floor.accuracy - counts.correct / counts.n,
        interval=stats.Interval(floor.accuracy - high, floor.accuracy - low, level),
        smallest_visible_drop=visible_shortfall(
            counts.n,
            floor=floor.accuracy,
            alpha=share,
            power=1.0 - policy.miss,
            tolerate=policy.tolerate,
        ),
        unparsed=UnparsedFinding(
            reference_rate=None,
            candidate_rate=counts.unparsed / counts.n,
            increase=None,
            limit=policy.max_unparsed_increase,
            evidence=None,
            failed=False,
        ),
    )


def _floor_groups(
    singles: Sequence[Single],
    ways: Sequence[Sequence[Single]],
    members: Mapping[str, Sequence[str]],
    policy: Policy,
    budget: Budget,
) -> JudgedGroups:
    """Returns the findings on the subjects and the domains that have a floor.

    Args:
        singles: The answers as they are.
        ways: The readings of them.
        members: Domain that is judged to its subjects.
        policy: The target's.
        budget: Error shares.
    """
    groups = by_subject(singles)
    judged = {name: own for name in sorted(groups) if (own := policy.for_subject(name)).floor}
    if not judged or not budget.subjects:
        return JudgedGroups((), (), False)
    share = budget.per_subject(len(judged))
    domain_share = budget.per_domain(len(members)) if budget.domains and members else None
    found: list[tuple[list[GroupFinding], list[GroupFinding]]] = []
    for way in ways:
        read = by_subject(way)
        subjects = [
            _finding(name, groups[name], read[name], own, share) for name, own in judged.items()
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
    name: str, singles: Sequence[Single], way: Sequence[Single], policy: Policy, share: float
) -> GroupFinding:
    """Returns what one group's answers say on one reading of them, before Holm."""
    assert policy.floor is not None
    floor, counts, read = Floor(policy.floor), count_singles(singles), count_singles(way)
    p_catch = _shortfall_below(read, floor, policy, policy.miss).value
    return GroupFinding(
        name=name,
        n=counts.n,
        losses=None,
        gains=None,
        drop=floor.accuracy - (counts.accuracy or 0.0),
        p=shortfall_above(read, floor, policy.tolerate, share).value,
        p_holm=1.0,
        p_catch=p_catch,
        word=word_for(counts, policy, p_catch),
        smallest_visible_drop=visible_shortfall(
            counts.n,
            floor=floor.accuracy,
            alpha=share,
            power=1.0 - policy.miss,
            tolerate=policy.tolerate,
        )
        if counts.n
        else None,
    )
