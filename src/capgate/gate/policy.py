"""The policy: what drop is tolerated, what drop must be caught, and how often the gate may err.

    policy = Policy(catch=0.03, reason="our harness is noisy")     # the whole suite
    policy.for_target("llama-8b")                                  # with that target's overrides
    policy.for_subject("anatomy")                                  # with its domain's and its own

A bar may be raised freely; to weaken one, a `reason:` must stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from capgate.common.errors import FileFault

OnInconclusive = Literal["fail", "pass"]
ReferenceChoice = Literal["base", "baseline", "floor", "published"]

Share = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False, strict=True)]
PositiveShare = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False, strict=True)]
ErrorShare = Annotated[float, Field(gt=0.0, lt=0.5, allow_inf_nan=False, strict=True)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, strict=True)]

_LARGER_IS_WEAKER: Final = (
    "tolerate",
    "catch",
    "false_alarm",
    "miss",
    "max_unparsed_increase",
    "max_unparsed",
    "max_error_rate",
)


def nearest(name: str, known: tuple[str, ...]) -> str | None:
    """Returns the known name that was probably meant."""
    return next(iter(get_close_matches(name, known, n=1, cutoff=0.5)), None)


def _known(kind: str) -> AfterValidator:
    """Refuses a name that the validation's context does not list under `kind`.

    Without a context, every name is taken: the gate itself knows no benchmark.
    """

    def check(name: str, info: ValidationInfo) -> str:
        known = tuple((info.context or {}).get(kind, (name,)))
        if name in known:
            return name
        meant = nearest(name, known)
        raise PydanticCustomError(
            "unknown_name",
            "there is no {kind} `{name}`{hint}",
            {"kind": kind, "name": name, "hint": f"; did you mean `{meant}`?" if meant else ""},
        )

    return AfterValidator(check)


Domain = Annotated[str, _known("domain")]
Subject = Annotated[str, _known("subject")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SubjectOverride(_Frozen):
    """What one subject or domain may set otherwise.

    The error budget is one for the whole suite, so a subject can't have its own.

    Attributes:
        tolerate: A true drop of this size must pass, as a fraction.
        catch: A true drop of this size should be caught; a subject says whether it could be.
        max_unparsed: Share of unreadable answers, on either side, above which nothing is
            concluded.
        max_error_rate: Share of questions without an answer above which nothing is concluded.
        on_inconclusive: Whether an inconclusive verdict fails its test.
        floor: Accuracy demanded of the subject where the reference is a floor.
        reason: Why a bar is weaker than the suite's; needed only then.
    """

    tolerate: Share | None = None
    catch: PositiveShare | None = None
    max_unparsed: Share | None = None
    max_error_rate: Share | None = None
    on_inconclusive: OnInconclusive | None = None
    floor: PositiveShare | None = None
    reason: Reason | None = None


class TargetOverride(SubjectOverride):
    """What one target may set otherwise: everything of the policy, and its reference.

    Attributes:
        false_alarm: Chance that an unchanged model fails.
        miss: Chance that a drop of `catch` passes.
        max_unparsed_increase: Rise of the unparsed rate that fails.
        reference: What the target is compared with.
        published: Model name of a published score, where `reference` is `published`.
    """

    false_alarm: ErrorShare | None = None
    miss: ErrorShare | None = None
    max_unparsed_increase: PositiveShare | None = None
    reference: ReferenceChoice | None = None
    published: Annotated[str, Field(min_length=1, strict=True)] | None = None

    @model_validator(mode="after")
    def _reference_has_its_figure(self) -> TargetOverride:
        if self.reference == "floor" and self.floor is None:
            raise PydanticCustomError("no_floor", "`reference: floor` needs `floor:` beside it")
        if self.reference == "published" and self.published is None:
            raise PydanticCustomError(
                "no_published", "`reference: published` needs `published: <model name>` beside it"
            )
        return self


class Policy(_Frozen):
    """The gate's policy (see `docs/gate.md`); every share and drop is a fraction of 1.

    Attributes:
        tolerate: A true drop of this size must pass.
        catch: A true drop of this size must be caught; larger than `tolerate`.
        false_alarm: Chance that an unchanged model fails, over all tests of a run together.
        miss: Chance that a drop of `catch` passes.
        max_unparsed_increase: Rise of the unparsed rate that fails.
        max_unparsed: Share of unreadable answers, on either side, above which nothing is
            concluded: answers that are unreadable on both sides are no agreement.
        max_error_rate: Share of questions without an answer above which nothing is concluded.
        on_inconclusive: Whether an inconclusive verdict fails its test.
        floor: Accuracy demanded where the reference is a floor; a subject has one only where
            its own or its domain's entry names it.
        reference: What a target is compared with; None leaves it to the target's kind.
        published: Name of a published score, where `reference` is `published`.
        reason: Why a bar is weaker than the default.
        targets: Overrides by target id.
        domains: Overrides by domain.
        subjects: Overrides by subject; they win over the domain's.

    A subject's domain is known after `grouped`.
    """

    tolerate: Share = 0.0
    catch: PositiveShare = 0.02
    false_alarm: ErrorShare = 0.05
    miss: ErrorShare = 0.05
    max_unparsed_increase: PositiveShare = 0.02
    max_unparsed: Share = 0.10
    max_error_rate: Share = 0.005
    on_inconclusive: OnInconclusive = "fail"
    floor: PositiveShare | None = None
    reference: ReferenceChoice | None = None
    published: str | None = None
    reason: Reason | None = None
    targets: dict[str, TargetOverride] = Field(default_factory=dict)
    domains: dict[Domain, SubjectOverride] = Field(default_factory=dict)
    subjects: dict[Subject, SubjectOverride] = Field(default_factory=dict)
    _domain_of: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def grouped(self, domain_of: Mapping[str, str]) -> Policy:
        """Returns the same policy for a benchmark whose subjects have these domains."""
        policy = self.model_copy()
        policy._domain_of = domain_of
        return policy

    def for_target(self, target: str) -> Policy:
        """Returns the policy with the target's overrides in force (itself if there are none)."""
        override = self.targets.get(target)
        return self if override is None else self._overridden(override)

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
        return self.model_dump(exclude={"targets", "domains", "subjects"}, exclude_none=True)

    def faults(self) -> list[FileFault]:
        """Returns what no single key shows: contradictions and weakening without a reason.

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
        return found + self._faults_together()

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
        return self.model_copy(update=override.model_dump(exclude_none=True))


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
