"""Two sides of a benchmark, question by question: refused where they did not ask the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from capgate.common.answers import AnswerState
from capgate.common.errors import FileFault, ReferenceMissingError
from capgate.common.text import one_line
from capgate.gate.rows import Pair
from capgate.logs.logged import LoggedBenchmark, TaskLog, canonical
from capgate.logs.side import Row, Side

_SHOWN: Final = 80
_NAMED: Final = 3


@dataclass(frozen=True)
class Paired:
    """Both sides of a benchmark.

    Attributes:
        pairs: The gate's input, in the reference's order.
        notes: What a reader of the verdict should know.
        left_out: Why questions are not judged, as one clause; `""` where all are.
    """

    pairs: list[Pair]
    notes: tuple[str, ...]
    left_out: str


def check_conditions(reference: LoggedBenchmark, candidate: LoggedBenchmark) -> None:
    """Makes sure that two runs of a benchmark were made in the same way.

    Raises:
        ReferenceMissingError: They were not; names each difference.
    """
    faults: list[FileFault] = []
    ours = {log.task: log for log in candidate.logs}
    theirs = {log.task: log for log in reference.logs}
    for task, log in theirs.items():
        if task not in ours:
            faults.append(FileFault(task, "only the reference was asked it"))
            continue
        faults += [FileFault(task, what) for what in _differences(log, ours[task])]
    faults += [
        FileFault(task, "only the candidate was asked it") for task in ours if task not in theirs
    ]
    if faults:
        raise _Refused(
            f"the two runs of {reference.name} were not made in the same way",
            faults,
            "run one of them again as the other was run",
        )


def pair_sides(reference: Side, candidate: Side, *, common: bool) -> Paired:
    """Joins two sides by question.

    Args:
        reference: The reference's.
        candidate: The candidate's.
        common: Whether questions that only one side has, or that were asked otherwise, are left
            out. Which they are follows from questions and prompts alone, never from an answer.

    Raises:
        ReferenceMissingError: They did not ask the same questions in the same way.
    """
    name = reference.benchmark.name
    _check_settings(reference, candidate)
    theirs, ours = reference.rows, candidate.rows
    other = _Other(theirs, ours)
    missing = {
        "reference": [q for q in ours if q not in theirs],
        "candidate": [q for q in theirs if q not in ours],
    }
    unanswered = {
        side: missing[side] if of.unfinished else []
        for side, of in (("reference", reference), ("candidate", candidate))
    }
    # A run that broke off has no answer to what it lacks; what it was to ask counts as an error.
    absent = {q for questions in unanswered.values() for q in questions}
    alone = {side: [q for q in each if q not in absent] for side, each in missing.items()}
    faults = [
        FileFault(name, what) for what in (*_alone(alone, reference, candidate), *other.told())
    ]
    if faults and not common:
        raise _Refused(
            f"the two runs of {name} did not ask the same questions in the same way",
            faults,
            "run one of them again as the other was run, or judge only what both were asked in "
            "the same way, --common",
        )
    left = {*alone["reference"], *alone["candidate"], *other.questions}
    pairs = [
        _pair(question, theirs.get(question), ours.get(question))
        for question in dict.fromkeys([*theirs, *ours])
        if question not in left
    ]
    # What neither run reached is known by its number alone.
    unreached = max(
        reference.missing - len(unanswered["reference"]),
        candidate.missing - len(unanswered["candidate"]),
        0,
    )
    error = AnswerState.ERROR
    pairs += [Pair(f"not reached {at}", name, error, error) for at in range(unreached)]
    if len(pairs) < 2:
        raise _Refused(
            f"the two runs of {name} share {len(pairs)} questions, so nothing can be compared",
            faults,
            "give two runs of the same task",
        )
    told = "; ".join(fault.what for fault in faults)
    left_out = f"{len(left):,} questions of {name} are not judged (--common): {told}"
    notes = tuple(dict.fromkeys([*_notes(reference, "reference"), *_notes(candidate, "candidate")]))
    return Paired(pairs, notes, left_out if left else "")


class _Refused(ReferenceMissingError):
    """Two runs that can't be compared, with every reason."""

    def __init__(self, what: str, faults: list[FileFault], remedy: str) -> None:
        listed = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(what, remedy=f"{remedy}{':' if listed else ''}{listed}")


class _Other:
    """Questions that both sides have, and that were not asked or scored alike."""

    def __init__(self, theirs: Mapping[str, Row], ours: Mapping[str, Row]) -> None:
        both = [(q, theirs[q], ours[q]) for q in theirs if q in ours]
        self.both = len(both)
        self.keys = [q for q, one, other in both if one.key != other.key]
        # What broke off may have sent nothing yet.
        self.prompts = [
            q
            for q, one, other in both
            if one.prompt and other.prompt and one.prompt != other.prompt
        ]
        self.groups = [q for q, one, other in both if one.group != other.group]
        self.questions = {*self.keys, *self.prompts, *self.groups}

    def told(self) -> Iterator[str]:
        """Each difference, as a clause."""
        if self.prompts:
            yield (
                f"{len(self.prompts):,} of {self.both:,} questions were asked with another prompt "
                "(few-shot examples, instructions or chat template)"
            )
        if self.keys:
            yield f"{len(self.keys):,} of {self.both:,} questions have another right answer"
        if self.groups:
            yield f"{len(self.groups):,} of {self.both:,} questions are of another group"


def _alone(alone: Mapping[str, list[str]], reference: Side, candidate: Side) -> Iterator[str]:
    for missing, here in (("candidate", reference), ("reference", candidate)):
        if questions := alone[missing]:
            only = "reference" if missing == "candidate" else "candidate"
            groups = dict.fromkeys(here.rows[q].group for q in questions)
            named = ", ".join(one_line(one, limit=40) for one in list(groups)[:_NAMED])
            more = f" and {len(groups) - _NAMED} more" if len(groups) > _NAMED else ""
            yield (
                f"{len(questions):,} of {len(here.rows):,} questions are only in the {only} "
                f"({named}{more})"
            )


def _pair(question: str, reference: Row | None, candidate: Row | None) -> Pair:
    row = reference or candidate
    assert row is not None
    error = AnswerState.ERROR
    return Pair(
        question,
        row.group,
        reference.state if reference else error,
        candidate.state if candidate else error,
        reference.cut_off if reference else False,
        candidate.cut_off if candidate else False,
        reference_tokens=reference.tokens if reference else 0,
        candidate_tokens=candidate.tokens if candidate else 0,
        cluster=row.cluster,
    )


def _differences(one: TaskLog, other: TaskLog) -> Iterator[str]:
    if one.tool != other.tool:
        yield f"the reference is a log of {one.tool}, the candidate of {other.tool}"
        return
    if one.metric != other.metric:
        yield f"the reference is judged by {one.metric}, the candidate by {other.metric}"
    if not one.conditions or not other.conditions:
        return
    for name in dict.fromkeys([*one.conditions, *other.conditions]):
        before, after = one.conditions.get(name), other.conditions.get(name)
        if canonical(before) != canonical(after):
            yield f"{name}: {_value(before)} in the reference, {_value(after)} in the candidate"


def _value(value: Any) -> str:  # noqa: ANN401 (any plain value)
    if value is None:
        return "not set"
    shown = value if isinstance(value, str) else canonical(value).decode()
    return one_line(shown, limit=_SHOWN)


def _check_settings(reference: Side, candidate: Side) -> None:
    faults = [
        FileFault(
            task,
            f"generation settings: {_settings(theirs)} in the reference, {_settings(ours)} in the "
            "candidate",
        )
        for task, theirs in reference.settings.items()
        if (ours := candidate.settings.get(task, ())) and set(ours) != set(theirs)
    ]
    if faults:
        raise _Refused(
            f"the two runs of {reference.benchmark.name} were not made in the same way",
            faults,
            "run one of them again as the other was run",
        )


def _settings(each: Iterable[str]) -> str:
    return " or ".join(one_line(one, limit=_SHOWN) for one in each)


def _notes(side: Side, name: str) -> Iterator[str]:
    for log in side.benchmark.logs:
        yield from log.notes
    for why in side.why_missing:
        yield f"{why}; they count as questions without an answer"
    for said, often in side.faults[:_NAMED]:
        yield f"{often:,} without an answer in the {name}: {one_line(said, limit=160)}"
