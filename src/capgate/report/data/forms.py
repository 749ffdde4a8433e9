"""The plain values within a report: each form is made from the dataclass that is written.

`Verdict.to_dict`, `Progress` and `Beside.to_dict` give dicts. They pass through the store as JSON,
and a report keeps them as dicts. pydantic checks them by their forms when a report is read, and
describes the forms in the report's JSON Schema.
"""

from __future__ import annotations

from collections.abc import Collection
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    Tag,
    ValidatorFunctionWrapHandler,
    create_model,
    model_serializer,
)
from pydantic_core import CoreSchema, core_schema

from capgate.config.published_scores import PublishedScore
from capgate.gate.budget import Budget
from capgate.gate.progress import Progress
from capgate.gate.rows import FloorCounts, PairCounts
from capgate.gate.stats import Interval
from capgate.gate.suite_verdict import (
    BenchmarkFinding,
    SuiteBudget,
    SuiteTest,
    SuiteVerdict,
    TogetherFinding,
)
from capgate.gate.tries import Allowance
from capgate.gate.verdict import (
    Evidence,
    GroupFinding,
    LengthFinding,
    ReferenceKind,
    UnparsedFinding,
    Verdict,
)
from capgate.report.data.published_beside import Beside

_CLOSED: Final = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)


def _form(
    of: type,
    *properties: str,
    name: str = "",
    without: Collection[str] = (),
    newer: Collection[str] = (),
    **others: object,
) -> Any:  # noqa: ANN401 (pydantic makes the type, so no type checker knows it)
    """Makes the form of a dataclass or named tuple: a closed object with all keys required.

    Args:
        of: The type whose fields are the keys.
        properties: Names of its properties that are written as well.
        name: The form's name; by default the type's own with `Form` after it.
        without: Names of fields that are not written.
        newer: Names of fields that older runs lack.
        others: Types of further keys, and of fields whose plain type is another.
    """
    types: dict[str, Any] = get_type_hints(of)
    for one in properties:
        types[one] = get_type_hints(getattr(of, one).fget)["return"]
    fields: dict[str, Any] = {
        # A factory's default is not in the schema; nothing reads it, as a key unset stays so.
        key: (kind, Field(default_factory=lambda: None)) if key in newer else (kind, ...)
        for key, kind in (types | others).items()
        if key not in without
    }
    summary = (of.__doc__ or "").partition("\n")[0]
    return create_model(name or f"{of.__name__}Form", __config__=_CLOSED, __doc__=summary, **fields)


def _group_form(what: str) -> Any:  # noqa: ANN401 (as `_form`)
    """The form of a finding on a subject or a domain, whose name is under the key `what`."""
    # `p_catch` is null in a report that was upgraded from counts that do not tell it.
    types: dict[str, Any] = {"p_catch": float | None, what: str}
    return _form(GroupFinding, "failed", name=f"{what.title()}Form", without=["name"], **types)


_IntervalForm = _form(Interval)
_EvidenceForm = _form(Evidence)
_PairCountsForm = _form(
    PairCounts,
    "discordance",
    "reference_accuracy",
    "candidate_accuracy",
    newer=["reference_cut_off", "candidate_cut_off"],
)
_FloorCountsForm = _form(FloorCounts, newer=["cut_off"], candidate_accuracy=float | None)
_VerdictForm = _form(
    Verdict,
    "exit_code",
    "fails",
    without=["pooled", "unsure", "nouns", "read", "log10_e"],
    newer=["length"],
    # pydantic's models have an attribute `schema`.
    schema_=Annotated[Literal[2], Field(alias="schema")],
    reasons=list[str],
    counts=_PairCountsForm | _FloorCountsForm | None,
    error_rate=float | None,
    interval=_IntervalForm | None,
    evidence=GenericAlias(list, _EvidenceForm),
    unparsed=_form(UnparsedFinding, evidence=_EvidenceForm | None) | None,
    subjects=GenericAlias(list, _group_form("subject")),
    domains=GenericAlias(list, _group_form("domain")),
    budget=_form(Budget, newer=["spent", "miss_share", "length", "others"]) | None,
    length=_form(
        LengthFinding, "failed", evidence=_EvidenceForm | None, cut_off_evidence=_EvidenceForm
    ),
    policy=dict[str, float | str | None] | None,
)
_SuiteForm = _form(
    SuiteVerdict,
    "exit_code",
    name="SuiteForm",
    without=["quick"],
    schema_=Annotated[Literal[1], Field(alias="schema")],
    scope=Literal["suite", "quick"],
    reasons=list[str],
    benchmarks=GenericAlias(
        list,
        _form(BenchmarkFinding, lost_groups=list[str], lost_parents=list[str], reasons=list[str]),
    ),
    together=_form(
        TogetherFinding, benchmarks=list[str], evidence=GenericAlias(list, _EvidenceForm)
    )
    | None,
    tests=GenericAlias(list, _form(SuiteTest, "fails")),
    budget=_form(SuiteBudget) | None,
    policy=dict[str, float | str | None],
)
_StepForm = _form(Progress, newer=["harm", "harmless"])
_AttemptForm = _form(Allowance, said=str | None)
_BesideForm = _form(
    Beside,
    "difference",
    without=["match"],
    interval=_IntervalForm | None,
    published=_form(
        PublishedScore,
        matched=str,
        benchmark=str,
        percent=float,
        newer=["mmlu", "benchmark", "percent"],
    )
    | None,
    nearest=list[str],
    caution=str,
)


class ReportModel(BaseModel):
    """A part of a report: closed, and never changed once it is made."""

    model_config = _CLOSED


class LeavesOut(ReportModel):
    """A form that is written without some of its members where they have their default.

    So what is written of a run that asks MMLU alone has no more members than before there were
    other benchmarks.
    """

    left_out: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        written: dict[str, Any] = write(self)
        for name in self.left_out:
            if getattr(self, name) == fields[name].get_default(call_default_factory=True):
                del written[name]
        return written


class ReferenceForm(BaseModel):
    """What a target was compared with: a base, a recorded run of a target, or an accuracy.

    Each kind has its own keys (`run.reference.describe`).
    """

    model_config = _CLOSED
    kind: ReferenceKind | Literal["none"]
    target: str = Field(default_factory=str)
    run: str = Field(default_factory=str)
    recorded: str = Field(default_factory=str)
    fingerprint: str = Field(default_factory=str)
    accuracy: float = Field(default_factory=float)
    source: str = Field(default_factory=str)


class _As:
    """Checks a dict by a form; for readers and the type checker it stays a dict of anything."""

    def __init__(self, form: type[BaseModel]) -> None:
        self._form = form

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            _checked,
            handler.generate_schema(self._form),
            serialization=core_schema.plain_serializer_function_ser_schema(dict),
        )


def _checked(value: object, by_form: ValidatorFunctionWrapHandler) -> dict[str, Any]:
    """Returns the keys that a value has, each with the type of its form."""
    checked: BaseModel = by_form(value)
    return checked.model_dump(exclude_unset=True, by_alias=True)


VerdictDict: TypeAlias = Annotated[dict[str, Any], _As(_VerdictForm)]
ReferenceDict: TypeAlias = Annotated[dict[str, Any], _As(ReferenceForm)]
StepDict: TypeAlias = Annotated[dict[str, Any], _As(_StepForm)]
AttemptDict: TypeAlias = Annotated[dict[str, Any], _As(_AttemptForm)]
BesideDict: TypeAlias = Annotated[dict[str, Any], _As(_BesideForm)]
SuiteDict: TypeAlias = Annotated[dict[str, Any], _As(_SuiteForm)]


def _which(verdict: object) -> str:
    return "suite" if isinstance(verdict, dict) and "benchmarks" in verdict else "single"


OutcomeDict: TypeAlias = Annotated[
    Annotated[VerdictDict, Tag("single")] | Annotated[SuiteDict, Tag("suite")],
    Discriminator(_which),
]
"""A verdict on one benchmark, or the one over all."""
