"""Groups of questions: subjects, and the domains that hold several of them.

Which subject belongs to which domain is handed in, so that the gate knows no benchmark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from capgate.common.grouping import grouped
from capgate.gate import stats
from capgate.gate.budget import Budget
from capgate.gate.conclude import too_many_errors, too_many_unread
from capgate.gate.policy import Policy
from capgate.gate.rows import FloorCounts, Pair, PairCounts, Single
from capgate.gate.verdict import GroupFinding, GroupWord

_Row = TypeVar("_Row", Pair, Single)

_FEWEST_SUBJECTS = 2
"""Subjects of a domain that is tested: the test of a single one would be that subject's again."""


def judged_domains(subjects: Iterable[str], domains: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the domains that are tested, each with its subjects.

    Args:
        subjects: The subjects of the run.
        domains: Subject to its domain; a subject without one belongs to none.
    """
    found = grouped((one for one in sorted(subjects) if one in domains), domains.__getitem__)
    return {name: found[name] for name in sorted(found) if len(found[name]) >= _FEWEST_SUBJECTS}


def floor_domains(
    subjects: Iterable[str], domains: Mapping[str, str], policy: Policy
) -> dict[str, list[str]]:
    """Returns the domains that are tested against a floor: those whose entry names one."""
    found = judged_domains(subjects, domains)
    return {name: mine for name, mine in found.items() if policy.for_domain(name).floor is not None}


def rows_of(groups: Mapping[str, Sequence[_Row]], subjects: Iterable[str]) -> list[_Row]:
    """Returns the rows of several subjects, from each subject's rows."""
    return [row for subject in subjects for row in groups[subject]]


def word_for(counts: PairCounts | FloorCounts, policy: Policy, p_catch: float) -> GroupWord:
    """Returns the word for a group that did not lose.

    Args:
        counts: Of the group.
        policy: The group's own.
        p_catch: p-value of "its `catch` was lost".
    """
    if too_many_errors(counts, policy) or too_many_unread(counts, policy, few=True):
        return "INCONCLUSIVE"
    return "kept" if p_catch <= policy.miss else "too few to tell"


def cleared(one: GroupFinding, policy: Policy) -> GroupFinding:
    """Returns the finding on a group whose loss was not confirmed by a second look."""
    return replace(one, word="kept" if one.p_catch <= policy.miss else "too few to tell")


class JudgedGroups(NamedTuple):
    """What the suite's test says of subjects and domains.

    Attributes:
        subjects: Findings on subjects.
        domains: Findings on domains.
        unsure: Whether missing answers could make one of them lost, and none is.
    """

    subjects: tuple[GroupFinding, ...]
    domains: tuple[GroupFinding, ...]
    unsure: bool


def holm_over(
    found: Sequence[tuple[Sequence[GroupFinding], Sequence[GroupFinding]]], budget: Budget
) -> JudgedGroups:
    """Applies Holm's procedure to subjects and domains together, on each reading of the answers.

    The weights are the Bonferroni shares, so that a subject which fails its own test is named.

    Args:
        found: Findings on subjects and on domains with their own p-values, for each reading; the
            same groups in each.
        budget: Whose shares of subjects and domains are spent.

    Returns:
        The findings of the reading that speaks least against each group and least for it. A group
        is `lost` where Holm rejects on that reading, and INCONCLUSIVE where on another only.
    """
    subjects, domains = found[0]
    weights = [budget.per_subject(len(subjects)) for _ in subjects]
    weights += [budget.per_domain(len(domains)) for _ in domains]
    total = sum(weights)
    ways = [[*ours, *wholes] for ours, wholes in found]
    adjusted = [stats.holm([one.p for one in way], weights) for way in ways]
    readings = list(zip(*ways, strict=True))
    weak = [max(one.p for one in group) for group in readings]
    merged: list[GroupFinding] = []
    for group, p, p_holm, each in zip(
        readings, weak, stats.holm(weak, weights), zip(*adjusted, strict=True), strict=True
    ):
        one = max(group, key=lambda reading: reading.p_catch)
        word = one.word
        if p_holm <= total:
            word = "lost"
        elif min(each) <= total:
            word = "INCONCLUSIVE"
        merged.append(replace(one, p=p, p_holm=p_holm, word=word))
    possible = any(p <= total for way in adjusted for p in way)
    lost = any(one.failed for one in merged)
    return JudgedGroups(
        tuple(one for one in merged[: len(subjects)] if one.n),
        tuple(one for one in merged[len(subjects) :] if one.n),
        possible and not lost,
    )
