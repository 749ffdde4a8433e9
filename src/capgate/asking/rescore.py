"""Stored answers scored again by today's scorer, so that two changes are told apart.

A score can change because the model answers differently, or because the scorer reads the same
answers differently. The stored texts go through upstream's own solver and scorer once more. What
that changes is the scorer's part; the rest is the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from capgate.asking.inspect_calls import read_texts
from capgate.asking.progress import Count
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.versions import scorer_of
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError
from capgate.common.redacted_forms import MARK
from capgate.common.thoughts import set_aside
from capgate.store.baselines import Baseline
from capgate.store.comparable import describe_change
from capgate.store.runs import StoredRun


@dataclass(frozen=True)
class Record:
    """Answers that were scored once.

    Attributes:
        name: What they are, for people.
        target: The target's id.
        benchmark: What was asked, and how.
        prompt_hash: Hash of the prompt's form then.
        versions: What read and scored them then.
        dataset: The questions' identity.
        answers: The answers whose text is at hand; none an error.
        lost: Answers whose text was not kept, or not all of it: a secret was cut out.
    """

    name: str
    target: str
    benchmark: Benchmark
    prompt_hash: str
    versions: Mapping[str, str]
    dataset: Mapping[str, Any]
    answers: tuple[Answer, ...]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer, as it was read then and as it is read today."""

    question: str
    subject: str
    then: AnswerState
    then_choice: str
    now: AnswerState
    now_choice: str
    text: str

    @property
    def changed(self) -> bool:
        """Whether it is read differently today."""
        return (self.then, self.then_choice) != (self.now, self.now_choice)


@dataclass(frozen=True)
class Rescored:
    """A record, scored again.

    Attributes:
        record: The record.
        readings: Of each answer.
        unknown: Answers to questions that are not in today's data set.
        prompt_hash: Hash of the prompt's form today.
        versions: What reads and scores today.
    """

    record: Record
    readings: tuple[Reading, ...]
    unknown: int
    prompt_hash: str
    versions: Mapping[str, str]

    @property
    def then(self) -> float:
        """Accuracy as it was scored then."""
        return _share(reading.then for reading in self.readings)

    @property
    def now(self) -> float:
        """Accuracy by today's scorer."""
        return _share(reading.now for reading in self.readings)

    @property
    def changed(self) -> tuple[Reading, ...]:
        """The answers that are read differently today."""
        return tuple(reading for reading in self.readings if reading.changed)

    @property
    def version_change(self) -> str:
        """Which versions differ, as a clause."""
        then = dict(self.record.versions)
        if (scorer := scorer_of(then)) is not None:
            then["scorer"] = scorer
        return describe_change(then, {key: self.versions.get(key) for key in then})


@dataclass(frozen=True)
class Moves:
    """A model then and now, both by today's scorer, on the questions of both.

    Attributes:
        n: Questions.
        before: Accuracy of the older answers.
        after: Accuracy of the newer ones.
        losses: Questions lost.
        gains: Questions gained.
    """

    n: int
    before: float
    after: float
    losses: int
    gains: int


def record_of_run(run: StoredRun, benchmark: Benchmark) -> Record:
    """The record that a stored run is.

    Args:
        run: The run.
        benchmark: What it asked, with the limit of tokens that it had.
    """
    scored = [answer for answer in run.answers if answer.state.scored]
    whole = tuple(answer for answer in scored if MARK not in answer.text)
    return Record(
        name=f"the run {run.id}",
        target=run.target,
        benchmark=benchmark,
        prompt_hash=run.about["prompt_hash"],
        versions=run.about["facts"]["versions"],
        dataset=run.about["dataset"],
        answers=whole,
        lost=len(scored) - len(whole),
    )


def record_of_baseline(
    baseline: Baseline, benchmark: Benchmark, kept: Mapping[str, Answer]
) -> Record:
    """The record that a baseline is.

    Args:
        baseline: The baseline.
        benchmark: What it asked, with the limit of tokens that it had.
        kept: The store's answers of the run it was made from, for texts too long for the file.
    """
    answers = []
    lost = 0
    for recorded in baseline.recorded_answers():
        has_text = baseline.texts.get(recorded.question, "") is not None
        answer = recorded if has_text else kept.get(recorded.question)
        if answer is not None and MARK not in answer.text:
            answers.append(answer)
        else:
            lost += 1
    return Record(
        name=f"the baseline recorded {baseline.recorded}",
        target=baseline.target,
        benchmark=benchmark,
        prompt_hash=baseline.prompt_hash,
        versions=baseline.identity["versions"],
        dataset=baseline.dataset,
        answers=tuple(answers),
        lost=lost,
    )


def rescore(
    record: Record,
    questions: Iterable[Question],
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
) -> Rescored:
    """Scores a record's answers with today's solvers and scorers.

    Args:
        record: The record.
        questions: Today's data set, of the record's number of few-shot examples.
        say: Shows a line of progress.

    Raises:
        ConfigError: None of its answers can be scored.
    """
    known = {question.hash: question for question in questions}
    asked = [(known[a.question], a) for a in record.answers if a.question in known]
    if not asked:
        what = (
            "none of its texts was kept"
            if record.lost and not record.answers
            else "none of its questions is in the data set"
        )
        raise ConfigError(
            f"{record.name} can't be scored again: {what}",
            target=record.target,
            remedy="name the data set that was asked with --dataset, and the store with --store",
        )
    # Runs of earlier versions kept a thought within its answer's text.
    texts = [(question, set_aside(answer.text).text) for question, answer in asked]
    count = Count(record.name, len(asked), "answers", say)
    read = read_texts(texts, record.benchmark, on_read=count.step)
    readings = tuple(
        Reading(then.question, then.subject, then.state, then.choice, state, choice, then.text)
        for (_, then), (state, choice) in zip(asked, read, strict=True)
    )
    return Rescored(
        record,
        readings,
        len(record.answers) - len(asked),
        record.benchmark.prompt_hash,
        record.benchmark.versions,
    )


def moves(before: Rescored, after: Rescored) -> Moves | None:
    """How far the model moved by today's scorer; None where no question is in both."""
    theirs = {reading.question: reading.now for reading in before.readings}
    pairs = [(theirs[r.question], r.now) for r in after.readings if r.question in theirs]
    if not pairs:
        return None
    right = AnswerState.CORRECT
    return Moves(
        n=len(pairs),
        before=_share(old for old, _ in pairs),
        after=_share(new for _, new in pairs),
        losses=sum(old is right and new is not right for old, new in pairs),
        gains=sum(new is right and old is not right for old, new in pairs),
    )


def _share(states: Iterable[AnswerState]) -> float:
    counted = list(states)
    return sum(state is AnswerState.CORRECT for state in counted) / len(counted)
