"""The error budget: how the chances of both errors are divided among the tests of a run."""

from __future__ import annotations

from typing import Final, NamedTuple

from capgate.common.nouns import SUBJECTS, Nouns
from capgate.gate.overrides import Shares
from capgate.gate.policy import Policy

DOMAINS_PART: Final = 0.25
"""Part of the groups' share that the domains have together where some are judged.

Weighted like this, Holm's procedure names a domain that lost 2 points in three runs of five where
equal weights do so in fewer than half, and hardly changes what is seen of a subject (see `perf/`).
"""
QUICK_SHARE: Final = 0.8
"""Part of its shares that a quick run spends: a full run may follow it on the rest."""

_SOME_HAVE: Final = ("length", "others")
_DIGITS: Final = 12
"""Decimals of a share; what is left beyond them is rounding."""


class Budget(NamedTuple):
    """How the error shares of a run are divided; the one place that knows.

    Attributes:
        total: `false_alarm` of the policy.
        pooled: Share of the pooled test.
        subjects: Share of all subjects together.
        unparsed: Share of the test on unparsed answers.
        reserved: Share set aside for later looks (a full run after a quick one, a second look).
        domains: Share of all domains together.
        spent: Share that was spent before: by the quick run that this one follows, or by earlier
            tries on the same candidate.
        miss_share: Part of the policy's `miss` that the pooled test may spend.
        length: Share of the tests on the length of answers.
        others: In a run of several benchmarks, the share of the other ones and of the test of all
            together.
    """

    total: float
    pooled: float
    subjects: float
    unparsed: float
    reserved: float = 0.0
    domains: float = 0.0
    spent: float = 0.0
    miss_share: float = 1.0
    length: float = 0.0
    others: float = 0.0

    @classmethod
    def whole(cls, policy: Policy, *, paired: bool = True, domains: bool = False) -> Budget:
        """Returns the split of a whole-benchmark run: pooled 1/2, groups 1/4, unparsed 1/4.

        The groups' quarter is the subjects' alone where no domain is judged. Against a floor
        only the candidate's unparsed answers are known, so there the pooled test has that
        quarter too.

        Args:
            policy: The target's.
            paired: Whether the candidate is compared question by question.
            domains: Whether domains are judged as well (`groups.judged_domains`).
        """
        total = policy.false_alarm
        groups = total / 4
        ours = groups * DOMAINS_PART if domains else 0.0
        if not paired:
            return cls(total, total * 3 / 4, groups - ours, 0.0, domains=ours)
        return cls(total, total / 2, groups - ours, total / 4, domains=ours)

    @classmethod
    def quick(cls, policy: Policy, *, paired: bool = True) -> Budget:
        """Returns the split of a sequential run, which judges no subject: pooled 3/4, unparsed 1/4.

        Against a floor all is the pooled test's. `QUICK_SHARE` of it is spent.
        """
        total = policy.false_alarm
        whole = cls(total, total * 3 / 4, 0.0, total / 4) if paired else cls(total, total, 0.0, 0.0)
        return whole.reserve(1.0 - QUICK_SHARE)._replace(miss_share=QUICK_SHARE)

    def reserve(self, share: float) -> Budget:
        """Returns the budget with `share` (in (0, 1)) of every part set aside for a later look.

        Raises:
            ValueError: If the share is not in (0, 1).
        """
        if not 0.0 < share < 1.0:
            raise ValueError(f"a reserved share lies between 0 and 1, not {share}")
        left = self._scaled(1.0 - share)
        return left._replace(reserved=self.total - self.spent - self.others - left.tested)

    def spend(self, share: float) -> Budget:
        """Returns the budget of a run that may spend `share` (in (0, 1]) of it.

        The rest was spent before; the shares of both errors are reduced alike.

        Raises:
            ValueError: If the share is not in (0, 1].
        """
        if not 0.0 < share <= 1.0:
            raise ValueError(f"a run's share lies between 0 and 1, not {share}")
        if share == 1.0:
            return self
        left = self._scaled(share)._replace(reserved=self.reserved * share)
        spent = self.total - left.tested - left.reserved - self.others
        return left._replace(spent=spent, miss_share=self.miss_share * share)

    def _scaled(self, share: float) -> Budget:
        return self._replace(
            pooled=self.pooled * share,
            subjects=self.subjects * share,
            unparsed=self.unparsed * share,
            domains=self.domains * share,
            length=self.length * share,
        )

    @property
    def tested(self) -> float:
        """Share of all tests of this run and benchmark together."""
        return self.pooled + self.subjects + self.unparsed + self.domains + self.length

    def miss(self, policy: Policy) -> float:
        """Returns the chance that the pooled test passes a drop of `catch`."""
        return policy.miss * self.miss_share

    @property
    def groups(self) -> float:
        """Share of all subjects and domains together."""
        return self.subjects + self.domains

    def per_subject(self, n_subjects: int) -> float:
        """Returns one subject's Bonferroni share.

        Raises:
            ValueError: If `n_subjects` is not positive or the budget has no subjects' part.
        """
        return _each(self.subjects, n_subjects, "subject")

    def per_domain(self, n_domains: int) -> float:
        """Returns one domain's Bonferroni share.

        Raises:
            ValueError: If `n_domains` is not positive or the budget has no domains' part.
        """
        return _each(self.domains, n_domains, "domain")

    def to_dict(self) -> dict[str, float]:
        """Returns plain values for JSON; the shares that only some runs have where they do."""
        fields = self._asdict()
        return {key: value for key, value in fields.items() if value or key not in _SOME_HAVE}

    def describe(self, miss: float | None, nouns: Nouns = SUBJECTS) -> str:
        """Returns both errors' shares as one line.

        Args:
            miss: The policy's `miss`, of which the pooled test spends a part; None leaves it out.
            nouns: What the benchmark's groups are called.
        """
        shown = self._shares(nouns)
        if miss is None:
            return shown
        kept = f" of {miss:g}" if self.miss_share < 1.0 else ""
        return f"{shown}; miss {miss * self.miss_share:.4g}{kept}"

    def __str__(self) -> str:
        return self._shares(SUBJECTS)

    def _shares(self, nouns: Nouns) -> str:
        parts = (
            ("pooled", self.pooled),
            (f"{nouns.group}s together", self.subjects),
            (f"{nouns.parent}s together", self.domains),
            ("unparsed", self.unparsed),
            ("answer length", self.length),
            ("other benchmarks", self.others),
            ("reserved", self.reserved),
            ("spent before", self.spent),
        )
        shown = " + ".join(f"{name} {part:.4g}" for name, part in parts if part)
        return f"false alarm {self.total:.4g} = {shown}"


def benchmark_budget(
    policy: Policy,
    benchmarks: int,
    *,
    paired: bool = True,
    groups: bool = True,
    parents: bool = False,
    quick: bool = False,
) -> Budget:
    """Returns the budget of one benchmark in a run of several, by the policy's `shares`.

    Each benchmark has the same slice of `false_alarm`, whatever the others are. So its own tests
    need not know them, and the shares of all benchmarks' tests and of the test of all together
    sum to `false_alarm`. The test of all together takes its share before the slices are cut; in
    a quick run it needs none (see `suite.combine_quick`), and its share is the pooled tests'.

    A benchmark alone has today's budget (`Budget.whole`, `Budget.quick`) unless the policy sets
    `shares` or `max_length_increase`.

    Args:
        policy: The target's.
        benchmarks: How many benchmarks decide, this one among them. For an advisory one, which is
            outside the budget of the others, 1.
        paired: Whether the candidate is compared question by question. Against a floor nothing
            is known of the reference's unreadable answers and lengths; their shares go to the
            pooled test.
        groups: Whether the benchmark has groups; else their share goes to the pooled test.
        parents: Whether parents of groups are judged; else their share goes to the groups.
        quick: Whether it is the budget of a quick run, which judges no group.

    Raises:
        ValueError: If `benchmarks` is not positive.
    """
    if benchmarks < 1:
        raise ValueError("a budget is of at least one benchmark")
    alone = benchmarks == 1
    if alone and policy.shares is None and policy.max_length_increase is None:
        return _alone(policy, paired=paired, groups=groups, parents=parents, quick=quick)
    shares, part = policy.shares or Shares(), policy.false_alarm / benchmarks
    pooled, subjects, domains = shares.benchmarks, shares.groups, shares.parents
    unparsed, length = shares.unparsed, shares.length
    if alone or quick:
        pooled += shares.together
    if not parents:
        subjects, domains = subjects + domains, 0.0
    if quick or not groups:
        pooled, subjects, domains = pooled + subjects + domains, 0.0, 0.0
    if not paired:
        pooled, unparsed, length = pooled + unparsed + length, 0.0, 0.0
    found = Budget(
        policy.false_alarm,
        pooled * part,
        subjects * part,
        unparsed * part,
        domains=domains * part,
        length=length * part,
    )
    slices = 1.0 if alone or quick else 1.0 - shares.together
    mine = slices * part
    found = found._replace(
        others=round(policy.false_alarm - mine, _DIGITS),
        reserved=round(mine - found.tested, _DIGITS),
    )
    if quick:
        return found.reserve(1.0 - QUICK_SHARE)._replace(miss_share=QUICK_SHARE)
    return found


def together_share(policy: Policy) -> float:
    """Returns the share of the test of all benchmarks together, of a whole run."""
    return policy.false_alarm * (policy.shares or Shares()).together


def _alone(policy: Policy, *, paired: bool, groups: bool, parents: bool, quick: bool) -> Budget:
    if quick:
        return Budget.quick(policy, paired=paired)
    found = Budget.whole(policy, paired=paired, domains=parents and groups)
    if groups:
        return found
    return found._replace(pooled=found.pooled + found.groups, subjects=0.0, domains=0.0)


def _each(together: float, n: int, what: str) -> float:
    if n < 1:
        raise ValueError(f"a {what}'s share needs at least one {what}")
    if together <= 0.0:
        raise ValueError(f"this budget judges no {what}")
    return together / n
