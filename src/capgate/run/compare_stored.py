"""Two stored runs, question by question, through the gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import CapgateError, ReferenceMissingError
from capgate.common.grouping import by_subject
from capgate.gate.groups import judged_domains, rows_of
from capgate.gate.rows import Pair, count_pairs, pair_up
from capgate.gate.suite import decide_suite
from capgate.gate.suite_verdict import Part, SuiteVerdict
from capgate.gate.verdict import Verdict
from capgate.run.judge_rows import Rules, judge_fixed
from capgate.store.comparable import comparable, describe_change, mismatch
from capgate.store.runs import StoredRun


@dataclass(frozen=True, slots=True)
class Flip:
    """A question that only one of two runs answered with the key.

    Attributes:
        question: Content hash.
        subject: Its subject.
        change: `loss` where the candidate was not correct, else `gain`.
        reference: The reference's answer.
        candidate: The candidate's.
    """

    question: str
    subject: str
    change: str
    reference: Answer
    candidate: Answer


@dataclass(frozen=True)
class GroupRow:
    """One subject or domain of two runs."""

    name: str
    n: int
    reference_accuracy: float | None
    candidate_accuracy: float | None
    losses: int
    gains: int
    errors: int


class ComparedSide(Protocol):
    """One of the two runs of a benchmark that are compared."""

    @property
    def id(self) -> str:
        """What the run is known by."""

    @property
    def target(self) -> str:
        """What was asked."""

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""

    @property
    def accuracy(self) -> float | None:
        """Share correct of the scored questions; None where there is none."""


@dataclass(frozen=True)
class Compared:
    """The result of comparing two runs.

    Attributes:
        reference: The run in the reference's place.
        candidate: The run in the candidate's place.
        verdict: The gate's.
        subjects: Each subject's counts.
        domains: The counts of each domain that was judged.
        flips: Losses and gains, by subject.
        differ: What answered, where that is not the same, as a clause.
        notes: What else a reader of the verdict should know.
    """

    reference: ComparedSide
    candidate: ComparedSide
    verdict: Verdict
    subjects: tuple[GroupRow, ...]
    domains: tuple[GroupRow, ...]
    flips: tuple[Flip, ...]
    differ: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparedRuns:
    """The result of comparing two runs on the benchmarks that they asked.

    Attributes:
        verdict: The one verdict over all; that of the only benchmark.
        compared: Benchmark to its comparison.
        missing: Benchmark to why it could not be compared.
    """

    verdict: SuiteVerdict | Verdict
    compared: Mapping[str, Compared]
    missing: Mapping[str, str]


def compare_several(
    runs: Mapping[str, tuple[StoredRun, StoredRun] | CapgateError], rules: Rules
) -> ComparedRuns:
    """Compares two runs of several benchmarks.

    Args:
        runs: Benchmark to the reference's and the candidate's part in it, or why one is not there.
        rules: By which rules all of them are judged.
    """
    compared: dict[str, Compared] = {}
    missing: dict[str, str] = {}
    for name, found in runs.items():
        try:
            if isinstance(found, CapgateError):
                raise found
            compared[name] = compare(*found, rules)
        except CapgateError as error:
            missing[name] = str(error)
    parts = parts_of(runs, compared, missing, rules)
    return ComparedRuns(decide_suite(parts, rules.policy), compared, missing)


def parts_of(
    names: Iterable[str],
    compared: Mapping[str, Compared],
    missing: Mapping[str, str],
    rules: Rules,
) -> list[Part]:
    """The parts of the verdict over all.

    Args:
        names: The benchmarks, in order.
        compared: Those that were compared.
        missing: Why each of the others was not.
        rules: By which rules all of them are judged.
    """
    return [
        Part(
            name,
            compared[name].verdict if name in compared else None,
            advisory=rules.is_advisory(name),
            apart=rules.asks_again(name),
            missing=missing.get(name, ""),
        )
        for name in names
    ]


def compare(reference: StoredRun, candidate: StoredRun, rules: Rules) -> Compared:
    """Compares two runs of one benchmark.

    Args:
        reference: The run in the reference's place.
        candidate: The run in the candidate's place.
        rules: By which rules the candidate is judged.

    Raises:
        ReferenceMissingError: They were not asked the same questions in the same way.
        RowsError: They did not answer the same ones.
    """
    _check(reference, candidate)
    pairs = pair_up(reference.singles, candidate.singles)
    theirs = {answer.question: answer for answer in reference.answers}
    ours = {answer.question: answer for answer in candidate.answers}
    parents = candidate.parents
    flips = [
        Flip(pair.question, pair.subject, change, theirs[pair.question], ours[pair.question])
        for pair, change in flipped(pairs)
    ]
    subjects, domains = group_rows(pairs, parents)
    return Compared(
        reference,
        candidate,
        judge_fixed(pairs, rules, candidate.benchmark, parents),
        subjects,
        domains,
        tuple(flips),
        _change(reference.about["facts"], candidate.about["facts"]),
    )


def flipped(pairs: Iterable[Pair]) -> list[tuple[Pair, str]]:
    """Losses and gains among pairs, by subject, each with its name."""
    right = AnswerState.CORRECT
    return [
        (pair, "loss" if pair.reference is right else "gain")
        for pair in sorted(pairs, key=lambda pair: (pair.subject, pair.question))
        if all(state.scored for state in pair.states)
        and (pair.reference is right) != (pair.candidate is right)
    ]


def group_rows(
    pairs: Sequence[Pair], parents: Mapping[str, str]
) -> tuple[tuple[GroupRow, ...], tuple[GroupRow, ...]]:
    """The counts of each group, and of each parent that is judged.

    Args:
        pairs: The answers of both sides.
        parents: Group to the parent that it belongs to.
    """
    groups = by_subject(pairs)
    return (
        tuple(_row(subject, mine) for subject, mine in sorted(groups.items())),
        tuple(
            _row(domain, rows_of(groups, mine))
            for domain, mine in judged_domains(groups, parents).items()
        ),
    )


def _check(reference: StoredRun, candidate: StoredRun) -> None:
    for run in (reference, candidate):
        if run.mode == "quick" and not run.put_all:
            raise ReferenceMissingError(
                f"{run.id} is a quick run: it stopped when its own answers were enough, so they "
                "are no fair sample for another question",
                target=run.target,
                remedy="compare runs of the whole benchmark (-m full); what the store has is not "
                "asked again",
            )
    theirs, ours = (
        comparable(run.about["facts"], run.about["prompt_hash"], run.about["dataset"])
        for run in (reference, candidate)
    )
    if (clash := mismatch(ours, theirs)) is not None:
        raise ReferenceMissingError(
            f"the runs {reference.id} and {candidate.id} can't be compared: the one was made with "
            f"{clash.clause}",
            remedy=f"{clash.remedy}, or run one of them again as the other was run",
        )


def _row(name: str, pairs: list[Pair]) -> GroupRow:
    counts = count_pairs(pairs)
    return GroupRow(
        name=name,
        n=counts.n,
        reference_accuracy=counts.reference_accuracy,
        candidate_accuracy=counts.candidate_accuracy,
        losses=counts.losses,
        gains=counts.gains,
        errors=counts.errors,
    )


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return describe_change(dict(before), dict(after))
