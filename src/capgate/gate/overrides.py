"""What a policy may set otherwise: for a subject or domain, a target, or a benchmark."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

OnInconclusive = Literal["fail", "pass"]
ReferenceChoice = Literal["base", "baseline", "floor", "published"]

Share = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False, strict=True)]
PositiveShare = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False, strict=True)]
ErrorShare = Annotated[float, Field(gt=0.0, lt=0.5, allow_inf_nan=False, strict=True)]
Part = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Times = Annotated[float, Field(gt=1.0, allow_inf_nan=False, strict=True)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, strict=True)]


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


BenchmarkName = Annotated[str, _known("benchmark")]
Domain = Annotated[str, _known("domain")]
Subject = Annotated[str, _known("subject")]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SubjectOverride(Frozen):
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
        max_length_increase: How many times longer answers may become.
        reference: What the target is compared with.
        published: Model name of a published score, where `reference` is `published`.
    """

    false_alarm: ErrorShare | None = None
    miss: ErrorShare | None = None
    max_unparsed_increase: PositiveShare | None = None
    max_length_increase: Times | None = None
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


class BenchmarkOverride(SubjectOverride):
    """What one benchmark may set otherwise; the error budget is one for all of them.

    Attributes:
        catch: In place of the one of the benchmark's own entry.
        max_unparsed_increase: Rise of the unparsed rate that fails.
        max_length_increase: How many times longer answers may become.
        advisory: Whether it is reported and never decides; None leaves that to its entry.
        groups: Overrides by group of the benchmark; they win over the parent's.
        parents: Overrides by parent of groups.
    """

    max_unparsed_increase: PositiveShare | None = None
    max_length_increase: Times | None = None
    advisory: Annotated[bool, Field(strict=True)] | None = None
    groups: dict[str, SubjectOverride] = Field(default_factory=dict)
    parents: dict[str, SubjectOverride] = Field(default_factory=dict)


class Shares(Frozen):
    """How `false_alarm` is divided among the tests of a run of several benchmarks.

    Each is a part of `false_alarm`; together they are at most 1. What a benchmark has no test
    for (groups it does not have, unparsed answers against a floor) goes to its own test.

    Attributes:
        together: The test of all benchmarks together.
        benchmarks: The benchmarks' own tests, divided among them.
        groups: Their groups' tests.
        parents: The tests of their groups' parents.
        unparsed: The tests on unreadable answers.
        length: The tests on the length of answers; 0 switches them off.
    """

    together: Part = 1 / 8
    benchmarks: Annotated[Part, Field(gt=0.0)] = 3 / 8
    groups: Part = 3 / 16
    parents: Part = 1 / 16
    unparsed: Part = 1 / 8
    length: Part = 1 / 8

    @model_validator(mode="after")
    def _at_most_all(self) -> Shares:
        total = sum(self.model_dump().values())
        if total > 1.0 + 1e-9:
            raise PydanticCustomError(
                "too_much",
                "the shares sum to {total}, more than the whole of false_alarm; keys left out "
                "have their defaults",
                {"total": f"{total:g}"},
            )
        return self
