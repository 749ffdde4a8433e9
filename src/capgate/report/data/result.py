"""What a run leaves behind for programs: results as data, described by one JSON Schema.

`schema/report.schema.json` is made from these models; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.recorded import known_parents
from capgate.common.grouping import grouped
from capgate.gate.verdict import GroupKind
from capgate.report.data.comparison import Comparison
from capgate.report.data.forms import (
    AttemptDict,
    BesideDict,
    LeavesOut,
    OutcomeDict,
    ReferenceDict,
    ReportModel,
    StepDict,
    SuiteDict,
    VerdictDict,
)

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_VERSION: Final = 7
"""Raised with every change of the form; `report.read` brings older reports up to it.

| version | what is new |
|---|---|
| 7 | `Report`: `benchmark`, `benchmarks`, `suites`; `Result`: `benchmark`, `parents`, |
|   | `free_text`, `advisory`, `endpoints`; `Comparison`: `free_text`; each left out where it says |
|   | nothing |
| 6 | `Group`: `word`; verdicts: `lost`, `kept` or `too few to tell` of subjects, and `domains` |
| 5 | `Group`: `cut_off`; `VerdictDict.counts`: unparsed answers that the token limit cut off |
|   | `Result`: `chosen`, `earlier`, `newest_earlier`; no accuracy where the verdict is ERROR |
|   | `Result`: `notes`; `Report`: `mode` |
| 4 | `Group`: `cost_now`; `Report`: `cost` |
| 3 | `Result`: `published` |
| 2 | `Result`: `reference`, `path`, `faults`, `unread`; `Report`: `comparisons`, `not_judged` |
| 1 | |
"""


class Interval(ReportModel):
    """A confidence interval of an accuracy (Clopper–Pearson, exact)."""

    low: float
    high: float
    level: float


class Group(ReportModel):
    """How the questions of a subject, a domain or the whole benchmark ended.

    Attributes:
        questions: Questions put.
        correct: Answered with the key.
        wrong: Answered with another choice.
        unparsed: Answered, but no choice could be read; counts as not correct.
        cut_off: Answers of any kind that the token limit ended.
        errors: Without an answer; left out of the accuracy.
        accuracy: correct / (correct + wrong + unparsed); null where nothing was scored, and for a
            whole target or a domain where the target's verdict is ERROR.
        interval: Its confidence interval.
        asked: Questions that this run asked and that were answered; the other answers were found
            in the store.
        seconds: Wall time of asking.
        prompt_tokens: Tokens of the prompts.
        completion_tokens: Tokens of the answers.
        cost: US dollars, where the server says; of stored answers, when they were asked for.
        cost_now: Of that, what this run spent; null where the server says of none.
        verdict: The gate's verdict on it, where it was judged by itself.
        word: What is said of a subject or a domain; null where it was not judged.
    """

    questions: int
    correct: int
    wrong: int
    unparsed: int
    errors: int
    accuracy: float | None
    interval: Interval | None
    asked: int
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    cost_now: float | None = None
    cut_off: int = 0
    verdict: VerdictDict | None = None
    word: GroupKind | None = None


class Accuracy(ReportModel):
    """The accuracy, in the form of Inspect's metrics."""

    value: float | None
    name: Literal["Accuracy"] = "Accuracy"


class Metrics(ReportModel):
    """Metrics by name."""

    accuracy: Accuracy


class Fault(ReportModel):
    """Questions that ended without an answer for one cause.

    Attributes:
        text: What was said of it.
        times: How many questions.
    """

    text: str
    times: int


class Unread(ReportModel):
    """An answer from which no choice could be read.

    Attributes:
        question: Content hash.
        subject: Its subject.
        text: The answer, cut where it is long.
    """

    question: str
    subject: str
    text: str


class Result(LeavesOut):
    """One target's result on one benchmark in one run.

    Words of MMLU stand for those of any benchmark: a subject is a group of questions, and a domain
    is the parent of some groups.

    Attributes:
        schema_version: Version of this form.
        benchmark: The benchmark's name.
        parents: Group to the parent that it belongs to; empty where groups have none, and for
            MMLU, whose domains are known (`Result.parent_of`).
        free_text: Whether answers are free text, so that no letter is read from them.
        advisory: Whether the benchmark is reported and never decides.
        run: The run's id.
        model_id: The target's id, or its base's for an adapter named on the command line.
        adapter_name: The adapter, where one was judged.
        timestamp: When the run ended, ISO 8601, UTC.
        limit: The `--limit` of the run.
        chosen: Questions that the run was to put; null where it ends by itself (a quick run), or
            where only some subjects' tests were chosen.
        mode: What was asked for: `full` (subject by subject) or `quick` (a random sample).
        complete: Whether every question that the run had chosen was put.
        overall_score: Accuracy over all questions put; null where nothing was scored, and where
            the verdict is ERROR.
        metrics: The same, in Inspect's form.
        subjects: Subject to accuracy; null where nothing was scored.
        overall: Counts over all questions put.
        domains: Counts by domain.
        subject_details: Counts and verdicts by subject.
        verdict: The gate's verdict on the target; null where it was not judged as a whole.
        task: The task's name.
        prompt_hash: Hash of the prompt's form.
        dataset: Source, revision, content digest and counts of the questions.
        fingerprint: Hash of what answered and how it was asked.
        identity: What that hash was made from.
        versions: Versions of the packages that the result depends on.
        reference: What it was compared with: `kind`, and `target`, `run` or `accuracy`.
        path: Where a quick run stood after each batch.
        seed: Seed of a quick run's order of questions; null for a whole run.
        attempt: Which try on the candidate it was, and what it could spend; null where it was not
            judged.
        faults: Why questions have no answer, the most frequent cause first.
        unread: Some of the answers from which no choice could be read.
        notes: How the target was found and asked, where a reader should know: one sentence each.
        published: The accuracy beside the published one of the model that it is served as
            (`published_beside.Beside.to_dict`); null where no published model has such a name.
        earlier: How many of the answers are from earlier runs, found in the store.
        newest_earlier: When the newest of these came, ISO 8601, UTC; null where there is none.
        endpoints: Each of the target's endpoints to how many of the answers it gave; empty where
            the target has one endpoint.
    """

    left_out: ClassVar[frozenset[str]] = frozenset(
        {"benchmark", "parents", "free_text", "advisory", "endpoints"}
    )

    schema_version: Literal[7] = 7
    benchmark: str = MMLU
    parents: dict[str, str] = Field(default_factory=dict)
    free_text: bool = False
    advisory: bool = False
    run: str
    model_id: str
    adapter_name: str | None
    timestamp: str
    limit: int | None
    chosen: int | None = None
    mode: Literal["full", "quick"]
    complete: bool
    overall_score: float | None
    metrics: Metrics
    subjects: dict[str, float | None]
    overall: Group
    domains: dict[str, Group]
    subject_details: dict[str, Group]
    verdict: VerdictDict | None
    task: str
    prompt_hash: str
    dataset: dict[str, Any]
    fingerprint: str
    identity: dict[str, Any]
    versions: dict[str, str]
    reference: ReferenceDict | None = None
    path: tuple[StepDict, ...] = ()
    seed: int | None = None
    attempt: AttemptDict | None = None
    faults: tuple[Fault, ...] = ()
    unread: tuple[Unread, ...] = ()
    notes: tuple[str, ...] = ()
    published: BesideDict | None = None
    earlier: int = 0
    newest_earlier: str | None = None
    endpoints: dict[str, int] = Field(default_factory=dict)

    @property
    def parent_of(self) -> Mapping[str, str]:
        """Group to the parent that it belongs to, such as a subject's domain; may be empty."""
        return self.parents or known_parents(self.benchmark)

    @property
    def has_groups(self) -> bool:
        """Whether its questions belong to groups that are told apart."""
        return set(self.subject_details) != {self.benchmark}

    @property
    def families(self) -> dict[str, list[str]]:
        """Parent to its groups, in order; `""` to those without one; empty without groups."""
        if not self.has_groups:
            return {}
        parents = self.parent_of
        found = grouped(self.subject_details, lambda one: parents.get(one, ""))
        names = (*dict.fromkeys(parents.values()), "")
        return {name: found[name] for name in names if name in found}


class Section(ReportModel):
    """What a run found on one benchmark.

    Attributes:
        targets: Target's id to its result.
        comparisons: Target's id to its comparison with its reference, question by question.
        not_judged: Target's id to the ERROR verdict of one that could not be asked at all.
    """

    targets: dict[str, Result] = Field(default_factory=dict)
    comparisons: dict[str, Comparison] = Field(default_factory=dict)
    not_judged: dict[str, VerdictDict] = Field(default_factory=dict)

    @property
    def bases(self) -> frozenset[str]:
        """The targets that others are compared with."""
        return frozenset(str(one.reference.get("target")) for one in self.comparisons.values())

    @property
    def known(self) -> frozenset[str]:
        """All its targets, those that could not be asked among them."""
        return frozenset((*self.targets, *self.not_judged))

    @property
    def judged(self) -> dict[str, Result]:
        """The results without those of bases that are only compared with."""
        bases = self.bases
        return {t: one for t, one in self.targets.items() if one.verdict or t not in bases}

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Target to the verdict on it, of those that have one."""
        found = {target: result.verdict for target, result in self.targets.items()}
        found |= self.not_judged
        return {target: verdict for target, verdict in found.items() if verdict}


class Report(LeavesOut):
    """A whole pytest run.

    Its `targets`, `comparisons` and `not_judged` are of one benchmark: MMLU, or the first that
    the run asked where it did not ask MMLU. `benchmarks` has those of the others; `sections` has
    all of them alike.

    Attributes:
        schema_version: Version of this form.
        run: The run's id.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC.
        complete: Whether the run came to its end.
        mode: What was asked for, as of a `Result`; null where no target was reached or an older
            capgate wrote it.
        settings: What it was asked to do, option by option; which there are differs by version.
        verdict: The weightiest verdict of its targets and their subjects, which is what the run's
            exit code says; null where none was judged. A subject's has a group's word as its kind.
            Where it is one over several benchmarks, it has the form of those in `suites`.
        verdict_of: The target that it is on.
        cost: US dollars that its answers cost this run; null where no server says.
        targets: Target's id to its result.
        comparisons: Target's id to its comparison with its reference, question by question.
        not_judged: Target's id to the ERROR verdict of one that could not be asked at all.
        benchmark: The benchmark that these three are of.
        benchmarks: The other benchmarks' names to what was found on them.
        suites: Target's id to the one verdict over all its benchmarks; empty where it was asked
            one benchmark.
    """

    left_out: ClassVar[frozenset[str]] = frozenset({"benchmark", "benchmarks", "suites"})

    schema_version: Literal[7] = 7
    run: str
    started: str
    finished: str
    complete: bool
    mode: Literal["full", "quick"] | None = None
    settings: dict[str, Any]
    verdict: OutcomeDict | None
    verdict_of: str | None = None
    cost: float | None = None
    targets: dict[str, Result] = Field(default_factory=dict)
    comparisons: dict[str, Comparison] = Field(default_factory=dict)
    not_judged: dict[str, VerdictDict] = Field(default_factory=dict)
    benchmark: str = MMLU
    benchmarks: dict[str, Section] = Field(default_factory=dict)
    suites: dict[str, SuiteDict] = Field(default_factory=dict)

    @property
    def sections(self) -> dict[str, Section]:
        """Benchmark to what was found on it, for all benchmarks of the run, in their order."""
        # What a report holds was checked already.
        first = Section.model_construct(
            targets=self.targets, comparisons=self.comparisons, not_judged=self.not_judged
        )
        return {self.benchmark: first, **self.benchmarks}


def iso(seconds: float) -> str:
    """A Unix time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_scores(result: Result, chosen: int | None) -> Result:
    """A result whose answers are too few for an accuracy; they stay counted.

    Args:
        result: The result.
        chosen: How many questions were to be put, where that is known.
    """
    scoreless = {"accuracy": None, "interval": None}
    return result.model_copy(
        update={
            "overall_score": None,
            "metrics": Metrics(accuracy=Accuracy(value=None)),
            "overall": result.overall.model_copy(update=scoreless),
            "domains": {
                name: one.model_copy(update=scoreless) for name, one in result.domains.items()
            },
            "chosen": chosen,
        }
    )


def answered_of(result: Result) -> tuple[int, int, int]:
    """Questions that a run was to put, those answered, and those answered just now."""
    overall = result.overall
    return (
        max(result.chosen or 0, overall.questions),
        overall.questions - overall.errors,
        overall.asked,
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `Report`, which holds that of `Result`."""
    about = {"$schema": DIALECT, "$id": f"urn:capgate:report:{SCHEMA_VERSION}"}
    return about | Report.model_json_schema()


def shipped_schema() -> dict[str, Any]:
    """The JSON Schema as it is shipped."""
    text = (files("capgate.report") / "schema" / "report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
