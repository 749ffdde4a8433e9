"""The outline of every verdict at a fixed number of questions, and what a reference adds to it.

A `Comparison` says how counts become p-values, intervals and findings; the steps from rows to a
verdict are the same for all of them, and are written here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Generic, Literal, TypeVar

from capgate.common.grouping import by_subject
from capgate.common.nouns import SUBJECTS, Nouns
from capgate.gate.budget import Budget
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
from capgate.gate.groups import JudgedGroups, holm_over, rows_of, word_for
from capgate.gate.policy import Policy
from capgate.gate.readings import readings
from capgate.gate.rows import FloorCounts, Pair, PairCounts, Single, check_rows
from capgate.gate.stats import Interval
from capgate.gate.verdict import (
    Evidence,
    GroupFinding,
    LengthFinding,
    ReferenceKind,
    UnparsedFinding,
    Verdict,
)

Row = TypeVar("Row", Pair, Single)
Counts = TypeVar("Counts", PairCounts, FloorCounts)


class Comparison(ABC, Generic[Row, Counts]):
    """How a candidate is compared with one reference.

    Args:
        reference: What the reference is.
        floor: The accuracy demanded, where the reference is one.
    """

    def __init__(self, reference: ReferenceKind, floor: float | None = None) -> None:
        self.reference = reference
        self.floor = floor

    @abstractmethod
    def count(self, rows: Sequence[Row]) -> Counts:
        """Returns the counts of some answers."""

    @abstractmethod
    def drop(self, counts: Counts) -> float:
        """Returns the accuracy lost, as a fraction."""

    @abstractmethod
    def interval(self, read: Sequence[Counts]) -> Interval:
        """Returns the interval that holds the drop on every reading of the answers."""

    @abstractmethod
    def harm(self, counts: Counts, policy: Policy, share: float) -> Evidence:
        """Returns the test of "the drop is at most `tolerate`", at a share."""

    @abstractmethod
    def harmless(self, counts: Counts, policy: Policy, share: float) -> Evidence:
        """Returns the test of "the drop is at least `catch`", at a share."""

    @abstractmethod
    def visible(self, counts: Counts, policy: Policy, share: float) -> float | None:
        """Returns the smallest drop that so many questions would usually show, at a share."""

    @abstractmethod
    def unparsed(
        self, counts: Counts, read: Sequence[Counts], policy: Policy, share: float
    ) -> tuple[UnparsedFinding | None, bool]:
        """Returns the finding on unreadable answers, and whether it hinges on missing ones.

        Args:
            counts: Of the answers as they are.
            read: On each reading of them.
            policy: The policy.
            share: Of the test on them; 0 where there is none.
        """

    @abstractmethod
    def length(self, rows: Sequence[Row], policy: Policy, share: float) -> LengthFinding | None:
        """Returns the finding on the length of answers; None where it is not tested."""

    @abstractmethod
    def within(self, policy: Policy) -> Comparison[Row, Counts] | None:
        """Returns the comparison of one group within the suite's test; None where it has none.

        Args:
            policy: The group's own.
        """

    def check(self, policy: Policy) -> None:
        """Makes sure that something can be judged by a policy.

        Raises:
            ConfigError: The policy contradicts itself.
        """
        check_policy(policy)

    def judge_suite(
        self,
        rows: Sequence[Row],
        policy: Policy,
        members: Mapping[str, Sequence[str]],
        budget: Budget,
        nouns: Nouns = SUBJECTS,
    ) -> Verdict:
        """Returns the verdict on all answers of a benchmark.

        Args:
            rows: The answers, checked.
            policy: The target's, checked.
            members: Domain that is judged to its subjects.
            budget: Error shares.
            nouns: What its groups are called.
        """
        counts = self.count(rows)
        draft = replace(self._draft("suite", counts, policy, budget), nouns=nouns)
        if not counts.n:
            return draft
        ways = readings(rows)
        read = [self.count(way) for way in ways]
        harm = [self.harm(one, policy, budget.pooled) for one in read]
        harmless = [self.harmless(one, policy, budget.miss(policy)) for one in read]
        kinds = [
            pooled_kind(above, below, self.drop(one), policy)
            for one, above, below in zip(read, harm, harmless, strict=True)
        ]
        unparsed, unparsed_unsure = self.unparsed(counts, read, policy, budget.unparsed)
        judged = self._groups(rows, ways, members, policy, budget)
        return conclude_suite(
            replace(
                draft,
                interval=self.interval(read),
                evidence=(weakest(harm), weakest(harmless)),
                smallest_visible_drop=self.visible(counts, policy, budget.pooled),
                unparsed=unparsed,
                subjects=judged.subjects,
                domains=judged.domains,
                pooled=agreed(kinds),
                unsure=len(set(kinds)) > 1 or unparsed_unsure or judged.unsure,
                length=self.length(rows, policy, budget.length),
                read=tuple(read),
            )
        )

    def judge_subject(
        self, rows: Sequence[Row], policy: Policy, n_subjects: int, budget: Budget
    ) -> Verdict:
        """Returns the verdict on one subject by itself, at its Bonferroni share.

        Args:
            rows: The answers to its questions.
            policy: The target's.
            n_subjects: Subjects of the whole run, among which the share is divided.
            budget: Error shares.

        Raises:
            RowsError: The rows can't be judged or are of several subjects.
            ConfigError: The policy contradicts itself.
        """
        subject = only_subject(rows)
        share = budget.per_subject(n_subjects)
        return self._group(rows, "subject", subject, policy.for_subject(subject), share, budget)

    def judge_domain(
        self, rows: Sequence[Row], policy: Policy, domain: str, budget: Budget
    ) -> Verdict:
        """Returns the verdict on one domain by itself, at the whole domains' share.

        Args:
            rows: The answers to its questions.
            policy: The target's.
            domain: Its name.
            budget: Error shares.

        Raises:
            RowsError: The rows can't be judged.
            ConfigError: The policy contradicts itself.
        """
        check_rows(rows)
        share = budget.per_domain(1)
        return self._group(rows, "domain", domain, policy.for_domain(domain), share, budget)

    def _draft(
        self,
        scope: Literal["suite", "subject", "domain"],
        counts: Counts,
        policy: Policy,
        budget: Budget,
        name: str | None = None,
    ) -> Verdict:
        """Returns a verdict without a finding; its reason stands where nothing was scored."""
        return Verdict(
            kind="INCONCLUSIVE",
            scope=scope,
            subject=name,
            reasons=() if counts.n else (nothing_scored(counts),),
            reference=self.reference,
            counts=counts,
            floor=self.floor,
            drop=self.drop(counts) if counts.n else None,
            budget=budget,
            policy=policy,
        )

    def _group(
        self,
        rows: Sequence[Row],
        scope: Literal["subject", "domain"],
        name: str,
        policy: Policy,
        share: float,
        budget: Budget,
    ) -> Verdict:
        """Returns the verdict on one group by itself, at a share, by the group's own policy."""
        self.check(policy)
        counts = self.count(rows)
        draft = self._draft(scope, counts, policy, budget, name)
        if not counts.n:
            return draft
        read = [self.count(way) for way in readings(rows)]
        harm = [self.harm(one, policy, share) for one in read]
        harmless = [self.harmless(one, policy, policy.miss) for one in read]
        draft = replace(
            draft,
            interval=self.interval(read),
            evidence=(weakest(harm), weakest(harmless)),
            smallest_visible_drop=self.visible(counts, policy, share),
            unparsed=self.unparsed(counts, read, policy, 0.0)[0],
            unsure=len({one.rejected for one in harm}) > 1,
        )
        return conclude_group(draft, weakest(harm), weakest(harmless))

    def _groups(
        self,
        rows: Sequence[Row],
        ways: Sequence[Sequence[Row]],
        members: Mapping[str, Sequence[str]],
        policy: Policy,
        budget: Budget,
    ) -> JudgedGroups:
        """Returns the findings of the suite's test on subjects and domains.

        Args:
            rows: The answers as they are.
            ways: The readings of them.
            members: Domain that is judged to its subjects.
            policy: The target's.
            budget: Error shares.
        """
        groups = by_subject(rows)
        policies = {name: policy.for_subject(name) for name in sorted(groups)}
        judged = {name: own for name, own in policies.items() if self.within(own)}
        if not judged or not budget.subjects:
            return JudgedGroups((), (), False)
        share = budget.per_subject(len(judged))
        domain_share = budget.per_domain(len(members)) if budget.domains and members else None
        found: list[tuple[list[GroupFinding], list[GroupFinding]]] = []
        for way in ways:
            read = by_subject(way)
            subjects = [
                self._finding(name, groups[name], read[name], own, share)
                for name, own in judged.items()
            ]
            domains = [
                self._finding(
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
        self, name: str, rows: Sequence[Row], way: Sequence[Row], policy: Policy, share: float
    ) -> GroupFinding:
        """Returns what one group's answers say on one reading of them, before Holm."""
        mine = self.within(policy)
        assert mine is not None
        counts, read = self.count(rows), self.count(way)
        p_catch = mine.harmless(read, policy, policy.miss).value
        paired = counts if isinstance(counts, PairCounts) else None
        return GroupFinding(
            name=name,
            n=counts.n,
            losses=paired.losses if paired else None,
            gains=paired.gains if paired else None,
            drop=mine.drop(counts),
            p=mine.harm(read, policy, share).value,
            p_holm=1.0,
            p_catch=p_catch,
            word=word_for(counts, policy, p_catch),
            smallest_visible_drop=mine.visible(counts, policy, share) if counts.n else None,
        )
