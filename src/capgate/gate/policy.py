"""The policy: what drop is tolerated, what drop must be caught, and how often the gate may err.

    policy = Policy(catch=0.03, reason="our harness is noisy")     # the whole suite
    policy.for_target("llama-8b")                                  # with that target's overrides
    policy.for_benchmark("gsm8k", 0.05)                            # with that benchmark's
    policy.for_subject("anatomy")                                  # with its domain's and its own

A bar may be raised freely; to weaken one, a `reason:` must stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, PrivateAttr

from capgate.common.errors import FileFault
from capgate.gate.overrides import (
    BenchmarkName,
    BenchmarkOverride,
    Domain,
    ErrorShare,
    Frozen,
    OnInconclusive,
    PositiveShare,
    Reason,
    ReferenceChoice,
    Share,
    Shares,
    Subject,
    SubjectOverride,
    TargetOverride,
    Times,
)

LENGTH_INCREASE: Final = 3.0
"""How many times longer answers may become where no policy says, in a run of several benchmarks."""

_NO_CATCHES: Final[Mapping[str, float | None]] = {}
_LARGER_IS_WEAKER: Final = (
    "tolerate",
    "catch",
    "false_alarm",
    "miss",
    "sweep_fdr",
    "max_unparsed_increase",
    "max_unparsed",
    "max_error_rate",
    "max_length_increase",
)
_IF_UNSET: Final = {"max_length_increase": LENGTH_INCREASE}


class Policy(Frozen):
    """The gate's policy (see `docs/gate.md`); every share and drop is a fraction of 1.

    Attributes:
        tolerate: A true drop of this size must pass.
        catch: A true drop of this size must be caught; larger than `tolerate`.
        false_alarm: Chance that an unchanged model fails, over all tests of a run together.
        miss: Chance that a drop of `catch` passes.
        sweep_fdr: Expected share of unchanged adapters among those that a sweep says have lost.
        max_unparsed_increase: Rise of the unparsed rate that fails.
        max_unparsed: Share of unreadable answers, on either side, above which nothing is
            concluded: answers that are unreadable on both sides are no agreement.
        max_error_rate: Share of questions without an answer above which nothing is concluded.
        max_length_increase: How many times longer answers may become. Where it is None, a run of
            one benchmark does not test it, and a run of several takes `LENGTH_INCREASE`.
        on_inconclusive: Whether an inconclusive verdict fails its test.
        floor: Accuracy demanded where the reference is a floor; a subject has one only where
            its own or its domain's entry names it.
        reference: What a target is compared with; None leaves it to the target's kind.
        published: Name of a published score, where `reference` is `published`.
        reason: Why a bar is weaker than the default.
        shares: How `false_alarm` is divided in a run of several benchmarks; None for the
            defaults of `Shares`.
        targets: Overrides by target id.
        benchmarks: Overrides by benchmark.
        domains: Overrides by domain.
        subjects: Overrides by subject; they win over the domain's.

    A subject's domain is known after `grouped`.
    """

    tolerate: Share = 0.0
    catch: PositiveShare = 0.02
    false_alarm: ErrorShare = 0.05
    miss: ErrorShare = 0.05
    sweep_fdr: ErrorShare = 0.05
    max_unparsed_increase: PositiveShare = 0.02
    max_unparsed: Share = 0.10
    max_error_rate: Share = 0.005
    max_length_increase: Times | None = None
    on_inconclusive: OnInconclusive = "fail"
    floor: PositiveShare | None = None
    reference: ReferenceChoice | None = None
    published: str | None = None
    reason: Reason | None = None
    shares: Shares | None = None
    targets: dict[str, TargetOverride] = Field(default_factory=dict)
    benchmarks: dict[BenchmarkName, BenchmarkOverride] = Field(default_factory=dict)
    domains: dict[Domain, SubjectOverride] = Field(default_factory=dict)
    subjects: dict[Subject, SubjectOverride] = Field(default_factory=dict)
    _domain_of: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _benchmark: str = PrivateAttr(default="")

    def grouped(self, domain_of: Mapping[str, str], *, benchmark: str = "") -> Policy:
        """Returns the same policy for a benchmark whose subjects have these domains.

        Args:
            domain_of: Subject to its domain.
            benchmark: The one whose `floor`, `domains:` and `subjects:` the policy's own are;
                `""` where they are any benchmark's.
        """
        policy = self.model_copy()
        policy._domain_of, policy._benchmark = domain_of, benchmark
        return policy

    def for_target(self, target: str) -> Policy:
        """Returns the policy with the target's overrides in force (itself if there are none)."""
        override = self.targets.get(target)
        return self if override is None else self._overridden(override)

    def for_benchmark(
        self, name: str, catch: float | None = None, *, parents: Mapping[str, str] | None = None
    ) -> Policy:
        """Returns the policy of one benchmark, with its overrides in force.

        Call it after `for_target`. The policy's own floor and its entries for domains and
        subjects are those of one benchmark (see `grouped`); another one's stand in its entry of
        `benchmarks:`.

        Args:
            name: The benchmark's.
            catch: The `catch` of the benchmark's own entry, in force where the policy's entry
                for it has none; None leaves the policy's.
            parents: Group to its parent; None leaves those of `grouped`.
        """
        policy, own = self._before_overrides(name, catch), self.benchmarks.get(name)
        if own is not None:
            policy = policy._overridden(own).model_copy(
                update={
                    "subjects": {**policy.subjects, **own.groups},
                    "domains": {**policy.domains, **own.parents},
                }
            )
        return policy if parents is None else policy.grouped(parents, benchmark=name)

    def is_advisory(self, name: str, by_entry: bool = False) -> bool:
        """Whether a benchmark is reported and never decides.

        Args:
            name: The benchmark's.
            by_entry: What the benchmark's own entry says.
        """
        own = self.benchmarks.get(name)
        return by_entry if own is None or own.advisory is None else own.advisory

    def _before_overrides(self, name: str, catch: float | None) -> Policy:
        update: dict[str, Any] = {} if catch is None else {"catch": catch}
        if self._benchmark not in ("", name):
            update |= {"floor": None, "subjects": {}, "domains": {}}
        return self.model_copy(update=update)

    def for_sweep(self, adapters: int) -> Policy:
        """Returns the policy by which each adapter of a sweep is judged.

        Its `false_alarm` is the share of `sweep_fdr` that one adapter's evidence suffices at by
        itself (`gate.sweep`).

        Args:
            adapters: How many the sweep has, at least one.
        """
        return self.model_copy(update={"false_alarm": self.sweep_fdr / adapters})

    def for_subject(self, subject: str) -> Policy:
        """Returns the policy of one subject: the suite's, its domain's, then its own."""
        policy = self.model_copy(update={"floor": None})
        for override in (
            self.domains.get(self._domain_of.get(subject, "")),
            self.subjects.get(subject),
        ):
            if override is not None:
                policy = policy._overridden(override)
        return policy

    def for_domain(self, domain: str) -> Policy:
        """Returns the policy of a domain as a whole: the suite's, then the domain's entry."""
        policy = self.model_copy(update={"floor": None})
        override = self.domains.get(domain)
        return policy if override is None else policy._overridden(override)

    def figures(self) -> dict[str, float | str | None]:
        """Returns the keys that a verdict depends on, for reports."""
        others = {"targets", "benchmarks", "domains", "subjects", "shares", "sweep_fdr"}
        return self.model_dump(exclude=others, exclude_none=True)

    def faults(self, catches: Mapping[str, float | None] = _NO_CATCHES) -> list[FileFault]:
        """Returns what no single key shows: contradictions and weakening without a reason.

        Args:
            catches: Benchmark to the `catch` of its own entry, where that is known.

        Returns:
            Each with its place, such as `subjects.anatomy.catch`.
        """
        found = _weaker(Policy(), self, "") + _contradictions(self, "")
        for target, override in self.targets.items():
            place = f"targets.{target}"
            found += _weaker(self, override, place)
            found += _contradictions(self._overridden(override), place)
        suite = self.model_copy(update={"floor": None})
        for name, entry in self.domains.items():
            found += _weaker(suite, entry, f"domains.{name}")
        for name, entry in self.subjects.items():
            domain = self.domains.get(self._domain_of.get(name, ""))
            base = suite if domain is None else suite._overridden(domain)
            found += _weaker(base, entry, f"subjects.{name}")
        for name, own in self.benchmarks.items():
            # Where the entry's `catch` is not known, the policy's own can't be compared with it.
            catch = catches.get(name, own.catch)
            found += self._faults_of_benchmark(name, own, catch)
        return found + self._switched_off() + self._faults_together()

    def _switched_off(self) -> list[FileFault]:
        if self.shares is None or self.reason is not None:
            return []
        off = [key for key in ("unparsed", "length") if not getattr(self.shares, key)]
        what = "0 switches the test off; say why in `reason:` of the policy"
        return [FileFault(f"shares.{key}", what, kind="weakened") for key in off]

    def _faults_of_benchmark(
        self, name: str, own: BenchmarkOverride, catch: float | None
    ) -> list[FileFault]:
        place, base = f"benchmarks.{name}", self._before_overrides(name, catch)
        found = _weaker(base, own, place)
        if own.advisory and own.reason is None:
            what = "an advisory benchmark never decides; say why in `reason:` beside it"
            found.append(FileFault(f"{place}.advisory", what, kind="weakened"))
        policy = self.for_benchmark(name, catch)
        found += _contradictions(policy, place)
        for key, groups in (("groups", own.groups), ("parents", own.parents)):
            for group, entry in groups.items():
                inner = f"{place}.{key}.{group}"
                found += _weaker(policy.model_copy(update={"floor": None}), entry, inner)
                found += _contradictions(policy._overridden(entry), inner)
        return found

    def _faults_together(self) -> list[FileFault]:
        """Returns what contradicts itself only where a subject's overrides meet a target's."""
        found: list[FileFault] = []
        for target in ("", *self.targets):
            policy = self.for_target(target)
            if _contradictions(policy, ""):
                continue
            groups = [(policy.for_domain(name), f"domains.{name}") for name in self.domains]
            for name, domain in self._domain_of.items():
                place = f"subjects.{name}" if name in self.subjects else f"domains.{domain}"
                groups.append((policy.for_subject(name), place))
            for own, place in groups:
                for plain in _contradictions(own, place):
                    said = f"for the target {target}, {plain.what}" if target else plain.what
                    fault = FileFault(plain.place, said)
                    if plain not in found and fault not in found:
                        found.append(fault)
        return found

    def _overridden(self, override: SubjectOverride) -> Policy:
        theirs = override.model_dump(exclude_none=True, exclude={"groups", "parents", "advisory"})
        return self.model_copy(update=theirs)


def _contradictions(policy: Policy, place: str) -> list[FileFault]:
    """Returns why nothing could be judged by a policy, though each of its values is sound."""
    found: list[FileFault] = []
    if policy.catch <= policy.tolerate:
        what = f"catch ({policy.catch:g}) must be larger than tolerate ({policy.tolerate:g})"
        found.append(FileFault(_join(place, "catch"), what))
    if policy.floor is not None and policy.floor <= policy.catch:
        what = f"the floor ({policy.floor:g}) must be larger than catch ({policy.catch:g})"
        found.append(FileFault(_join(place, "floor"), what))
    return found


def _weaker(base: Policy, entry: Policy | SubjectOverride, place: str) -> list[FileFault]:
    """Returns the bars that `entry` weakens without a reason beside them."""
    if entry.reason is not None:
        return []
    found: list[tuple[str, Any, Any]] = []
    for key in _LARGER_IS_WEAKER:
        ours, theirs = getattr(entry, key, None), getattr(base, key)
        theirs = _IF_UNSET.get(key) if theirs is None else theirs
        if ours is not None and ours > theirs:
            found.append((key, ours, theirs))
    if entry.on_inconclusive == "pass" and base.on_inconclusive == "fail":
        found.append(("on_inconclusive", "pass", "fail"))
    if entry.floor is not None and base.floor is not None and entry.floor < base.floor:
        found.append(("floor", entry.floor, base.floor))
    return [
        FileFault(
            _join(place, key),
            f"{ours} is weaker than {theirs}; say why in `reason:` beside it",
            kind="weakened",
        )
        for key, ours, theirs in found
    ]


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
