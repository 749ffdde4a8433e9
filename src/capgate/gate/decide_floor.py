"""Verdicts against a demanded or published accuracy, where nothing can be paired.

    decide_floor(singles, Floor(0.65), policy)
    judge_subject_floor(singles_of_anatomy, Floor(0.5), policy, n_subjects=57)

The drop is `floor − accuracy`; every test is the exact binomial one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from capgate.common.errors import ConfigError
from capgate.common.nouns import SUBJECTS, Nouns
from capgate.gate import stats
from capgate.gate.budget import Budget
from capgate.gate.comparison import Comparison
from capgate.gate.conclude import check_policy
from capgate.gate.groups import floor_domains
from capgate.gate.policy import Policy
from capgate.gate.power import visible_shortfall
from capgate.gate.rows import FloorCounts, Single, check_rows, count_singles
from capgate.gate.verdict import Evidence, LengthFinding, UnparsedFinding, Verdict


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
    nouns: Nouns = SUBJECTS,
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
        nouns: What the benchmark's groups are called.

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy or the floor contradicts itself.
    """
    check_policy(policy)
    check_floor(floor, policy)
    check_rows(singles)
    members = floor_domains({row.subject for row in singles}, domains or {}, policy)
    budget = budget or Budget.whole(policy, paired=False, domains=bool(members))
    return _AgainstFloor(floor).judge_suite(singles, policy, members, budget, nouns)


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
    budget = budget or Budget.whole(policy, paired=False)
    return _AgainstFloor(floor).judge_subject(singles, policy, n_subjects, budget)


def judge_domain_floor(
    singles: Sequence[Single], floor: Floor, policy: Policy, *, domain: str, budget: Budget
) -> Verdict:
    """Judges one domain against its floor (see `decide_paired.judge_domain`).

    Raises:
        RowsError: If the rows can't be judged.
        ConfigError: If the policy contradicts itself.
    """
    return _AgainstFloor(floor).judge_domain(singles, policy, domain, budget)


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


class _AgainstFloor(Comparison[Single, FloorCounts]):
    """The comparison of the candidate's accuracy with a floor; every test is exact."""

    def __init__(self, floor: Floor) -> None:
        super().__init__(floor.kind, floor.accuracy)
        self._floor = floor

    def count(self, rows: Sequence[Single]) -> FloorCounts:
        return count_singles(rows)

    def drop(self, counts: FloorCounts) -> float:
        return self._floor.accuracy - (counts.accuracy or 0.0)

    def interval(self, read: Sequence[FloorCounts]) -> stats.Interval:
        low, high, level = stats.hull([stats.clopper_pearson(one.correct, one.n) for one in read])
        return stats.Interval(self._floor.accuracy - high, self._floor.accuracy - low, level)

    def harm(self, counts: FloorCounts, policy: Policy, share: float) -> Evidence:
        at_least = max(self._floor.accuracy - policy.tolerate, 0.0)
        p = stats.binomial_below(counts.correct, counts.n, at_least)
        return Evidence.from_p(f"at least {_percent(at_least)} right", "exact binomial", p, share)

    def harmless(self, counts: FloorCounts, policy: Policy, share: float) -> Evidence:
        at_most = max(self._floor.accuracy - policy.catch, 0.0)
        p = stats.binomial_above(counts.correct, counts.n, at_most)
        return Evidence.from_p(f"at most {_percent(at_most)} right", "exact binomial", p, share)

    def visible(self, counts: FloorCounts, policy: Policy, share: float) -> float | None:
        return visible_shortfall(
            counts.n,
            floor=self._floor.accuracy,
            alpha=share,
            power=1.0 - policy.miss,
            tolerate=policy.tolerate,
        )

    def unparsed(
        self,
        counts: FloorCounts,
        read: Sequence[FloorCounts],  # noqa: ARG002
        policy: Policy,
        share: float,  # noqa: ARG002
    ) -> tuple[UnparsedFinding | None, bool]:
        """Only shown: without a reference nothing tells whether answers became unreadable."""
        finding = UnparsedFinding(
            reference_rate=None,
            candidate_rate=counts.unparsed / counts.n,
            increase=None,
            limit=policy.max_unparsed_increase,
            evidence=None,
            failed=False,
        )
        return finding, False

    def length(self, *_: object) -> LengthFinding | None:
        return None

    def within(self, policy: Policy) -> _AgainstFloor | None:
        return None if policy.floor is None else _AgainstFloor(Floor(policy.floor))

    def check(self, policy: Policy) -> None:
        super().check(policy)
        check_floor(self._floor, policy)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
