"""The forms of the plain values within a report, so that they are checked and its schema says them.

They are what `Verdict.to_dict`, `gate.live.Progress` and `published.Beside.to_dict` give: dicts
that went through the store as JSON and stay dicts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema
from typing_extensions import TypedDict

from capgate.gate.verdict import GroupWord, ReferenceKind, Scope, VerdictKind

_CLOSED = ConfigDict(extra="forbid")


class IntervalForm(TypedDict):
    """A two-sided confidence interval; `level` is its confidence, in (0, 1)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    low: float
    high: float
    level: float


class EvidenceForm(TypedDict):
    """One test of one hypothesis (`gate.verdict.Evidence`)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    hypothesis: str
    method: str
    measure: Literal["p", "log10_e"]
    value: float
    threshold: float
    share: float
    rejected: bool


class UnparsedForm(TypedDict):
    """Whether answers became unreadable (`gate.verdict.UnparsedFinding`)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    reference_rate: float | None
    candidate_rate: float
    increase: float | None
    limit: float
    evidence: EvidenceForm | None
    failed: bool


class GroupForm(TypedDict):
    """One group within the suite's test (`gate.verdict.GroupFinding`).

    `p_catch` is null where an older report did not have what it takes.
    """

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    n: int
    losses: int | None
    gains: int | None
    drop: float
    p: float
    p_holm: float
    p_catch: float | None
    word: GroupWord
    failed: bool
    smallest_visible_drop: float | None


class SubjectForm(GroupForm):
    """One subject within the suite's test."""

    subject: str


class DomainForm(GroupForm):
    """One domain within the suite's test."""

    domain: str


class PairCountsForm(TypedDict):
    """Counts against a reference that answered the same questions (`gate.rows.PairCounts`)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    n: int
    losses: int
    gains: int
    both_correct: int
    errors: int
    reference_errors: int
    candidate_errors: int
    reference_unparsed: int
    candidate_unparsed: int
    newly_unparsed: int
    newly_parsed: int
    reference_cut_off: NotRequired[int]
    candidate_cut_off: NotRequired[int]
    discordance: float | None
    reference_accuracy: float | None
    candidate_accuracy: float | None


class FloorCountsForm(TypedDict):
    """Counts against a floor (`gate.rows.FloorCounts`)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    n: int
    correct: int
    errors: int
    unparsed: int
    cut_off: NotRequired[int]
    candidate_accuracy: float | None


class BudgetForm(TypedDict):
    """How the chance of a false alarm was divided (`gate.policy.Budget`)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    total: float
    pooled: float
    subjects: float
    unparsed: float
    reserved: float
    domains: float
    spent: NotRequired[float]
    miss_share: NotRequired[float]


class VerdictForm(TypedDict):
    """What the gate concluded (`gate.verdict.Verdict`); drops and rates are fractions of 1."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    schema: Literal[2]
    kind: VerdictKind
    exit_code: int
    fails: bool
    scope: Scope
    subject: str | None
    reference: ReferenceKind | None
    reasons: list[str]
    counts: PairCountsForm | FloorCountsForm | None
    error_rate: float | None
    floor: float | None
    drop: float | None
    interval: IntervalForm | None
    evidence: list[EvidenceForm]
    smallest_visible_drop: float | None
    unparsed: UnparsedForm | None
    subjects: list[SubjectForm]
    domains: list[DomainForm]
    budget: BudgetForm | None
    policy: dict[str, float | str | None] | None
    population: int | None


class ReferenceForm(TypedDict):
    """What a target was compared with: a base, a recorded run of a target, or an accuracy."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    kind: ReferenceKind | Literal["none"]
    target: NotRequired[str]
    run: NotRequired[str]
    recorded: NotRequired[str]
    fingerprint: NotRequired[str]
    accuracy: NotRequired[float]
    source: NotRequired[str]


class StepForm(TypedDict):
    """Where a quick run stood after a batch (`gate.live.Progress`).

    `harm` and `harmless` say what the evidence speaks against; older runs do not have them.
    """

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    questions: int
    population: int
    scored: int
    losses: int
    gains: int
    drop: float | None
    log10_harm: float
    log10_harmless: float
    needed_harm: float
    needed_harmless: float
    expected_remaining: int | None
    harm: NotRequired[str]
    harmless: NotRequired[str]
    paired: bool


class AttemptForm(TypedDict):
    """Which try on a candidate a run was (`gate.tries.Allowance`)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    number: int
    share: float
    after: str
    said: str | None


class PublishedScoreForm(TypedDict):
    """A published score, in percent, and how its name was matched."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    model: str
    mmlu: float
    source: str
    setup: str
    matched: str


class BesideForm(TypedDict):
    """An accuracy beside a published one (`report.published.Beside`)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]
    target: str
    model: str
    accuracy: float | None
    interval: IntervalForm | None
    questions: int
    task: str
    published: PublishedScoreForm | None
    difference: float | None
    nearest: list[str]
    caution: str


class _As:
    """Checks a dict by a form; for the type checker it stays a dict of anything."""

    def __init__(self, form: Any) -> None:  # noqa: ANN401
        self._form = form

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return handler.generate_schema(self._form)


VerdictDict: TypeAlias = Annotated[dict[str, Any], _As(VerdictForm)]
ReferenceDict: TypeAlias = Annotated[dict[str, Any], _As(ReferenceForm)]
StepDict: TypeAlias = Annotated[dict[str, Any], _As(StepForm)]
AttemptDict: TypeAlias = Annotated[dict[str, Any], _As(AttemptForm)]
BesideDict: TypeAlias = Annotated[dict[str, Any], _As(BesideForm)]
