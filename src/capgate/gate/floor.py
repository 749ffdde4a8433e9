"""Verdicts against a demanded or published accuracy, where nothing can be paired.

    decide_floor(singles, Floor(0.65), policy)
    judge_subject_floor(singles_of_anatomy, Floor(0.5), policy, n_subjects=57)

The drop is `floor − accuracy`; every test is the exact binomial one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from capgate.errors import ConfigError
from capgate.gate import stats
from capgate.gate.conclude import (
    agreed,
    by_subject,
    check_policy,
    conclude_subject,
    conclude_suite,
    holm_over,
    nothing_scored,
    only_subject,
    pooled_kind,
    weakest,
)
from capgate.gate.policy import Budget, Policy
from capgate.gate.rows import FloorCounts, Single, check_rows, count_singles, readings
from capgate.gate.sight import visible_shortfall
from capgate.gate.verdict import Evidence, SubjectFinding, UnparsedFinding, Verdict


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
    singles: Sequence[Single], floor: Floor, policy: Policy, *, budget: Budget | None = None
) -> Verdict:
    """Decides on all answers of a benchmark against a demanded accuracy.

    The drop is `floor − accuracy`; both hypotheses are tested exactly. Subjects are tested where
    the policy names a floor for them or their domain.

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy or the floor contradicts itself.
    """
    check_policy(policy)
    check_floor(floor, policy)
    check_rows(singles)
    budget = budget or Budget.whole(policy, paired=False)
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
    harmless = [
        Evidence.from_p(
            f"at most {_percent(floor.accuracy - policy.catch)} right",
            "exact binomial",
            stats.binomial_above(one.correct, one.n, floor.accuracy - policy.catch),
            policy.miss,
        )
        for one in read
    ]
    kinds = [
        pooled_kind(above, below, floor.accuracy - one.correct / one.n, policy)
        for one, above, below in zip(read, harm, harmless, strict=True)
    ]
    subjects, unsure = _floor_subjects(singles, ways, policy, budget)
    return conclude_suite(
        replace(
            _with_numbers(draft, counts, read, floor, budget.pooled, policy),
            evidence=(weakest(harm), weakest(harmless)),
            subjects=subjects,
            pooled=agreed(kinds),
            unsure=unsure or len(set(kinds)) > 1,
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
    share = budget.per_subject(n_subjects)
    policy = policy.for_subject(subject)
    check_policy(policy)
    counts = count_singles(singles)
    draft = Verdict(
        kind="INCONCLUSIVE",
        scope="subject",
        subject=subject,
        reasons=(),
        reference=floor.kind,
        counts=counts,
        floor=floor.accuracy,
        budget=budget,
        policy=policy,
    )
    if not counts.n:
        return replace(draft, reasons=(nothing_scored(counts),))
    read = [count_singles(way) for way in readings(singles)]
    harm = [shortfall_above(one, floor, policy.tolerate, share) for one in read]
    draft = replace(
        _with_numbers(draft, counts, read, floor, share, policy),
        evidence=(weakest(harm),),
        unsure=len({one.rejected for one in harm}) > 1,
    )
    return conclude_subject(draft, weakest(harm))


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


def _floor_subjects(
    singles: Sequence[Single],
    ways: Sequence[Sequence[Single]],
    policy: Policy,
    budget: Budget,
) -> tuple[tuple[SubjectFinding, ...], bool]:
    """Returns the subjects' findings, and whether one of them hinges on missing answers."""
    groups = by_subject(singles)
    floors = {subject: policy.for_subject(subject).floor for subject in groups}
    judged = {subject: Floor(floor) for subject, floor in floors.items() if floor is not None}
    if not judged or not budget.subjects:
        return (), False
    share = budget.per_subject(len(judged))
    found: list[list[SubjectFinding]] = []
    for way in ways:
        mine: list[SubjectFinding] = []
        for subject, rows in sorted(by_subject(way).items()):
            if subject not in judged:
                continue
            own, floor, counts = (
                policy.for_subject(subject),
                judged[subject],
                count_singles(groups[subject]),
            )
            mine.append(
                SubjectFinding(
                    subject=subject,
                    n=counts.n,
                    losses=None,
                    gains=None,
                    drop=floor.accuracy - (counts.accuracy or 0.0),
                    p=shortfall_above(count_singles(rows), floor, own.tolerate, share).value,
                    p_holm=1.0,
                    failed=False,
                    smallest_visible_drop=visible_shortfall(
                        counts.n,
                        floor=floor.accuracy,
                        alpha=share,
                        power=1.0 - own.miss,
                        tolerate=own.tolerate,
                    )
                    if counts.n
                    else None,
                )
            )
        found.append(mine)
    subjects, unsure = holm_over(found, budget)
    return tuple(one for one in subjects if one.n), unsure
