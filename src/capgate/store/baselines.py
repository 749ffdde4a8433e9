"""Recorded baselines: a run's answer to every question, kept in `thresholds/baselines/`.

One file for each target and benchmark, one line for each question, in a stable order: what changed
between two recordings is what a diff shows. Of the texts that were answered only those are
kept that are not the plain `ANSWER: X`, which stands for itself; so a baseline can be scored
again by a later scorer without the store it came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError, FileFault, ReferenceMissingError
from capgate.common.grouping import by_subject
from capgate.common.thoughts import holds_thought
from capgate.common.validation import data_faults
from capgate.config.shown_command import of_benchmark
from capgate.gate.rows import Single
from capgate.serving.routes import is_routed, routes_of
from capgate.store.comparable import comparable

TEXT_LIMIT: Final = 600
"""Characters of an answer beyond which its text is not kept in the file."""

TEXTS_LIMIT: Final = 4_000_000
"""Characters of all kept texts of a file together."""

_CODES: dict[AnswerState, str] = {
    AnswerState.CORRECT: "C",
    AnswerState.WRONG: "W",
    AnswerState.UNPARSED: "U",
}
_MOST: Final = 10**9
"""Answers; no benchmark has so many questions."""

_CUT_OFF: Final = "cut off"
"""Stands in the letter's place where an answer is unreadable and the token limit ended it."""

_UNREAD_CUT_OFF: Final = f"{_CODES[AnswerState.UNPARSED]} {_CUT_OFF}"

_NAMED: Final = {"benchmark", "letters", "tokens", "cut_off"}
"""Fields that a baseline of MMLU does not have in its file."""

READ_FROM_THOUGHTS: Final = (
    "an earlier version recorded it and may have read the model's thoughts as its answers"
)
"""Why a baseline that `may_rest_on_thoughts` is refused, as a clause."""

_STATES = {code: state for state, code in _CODES.items()}


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SubjectCounts(_Frozen):
    """How a subject's questions ended."""

    n: int
    correct: int
    wrong: int
    unparsed: int


class Revision(_Frozen):
    """One recording: the first, or an update.

    Attributes:
        run: The run that was recorded.
        recorded: When, ISO 8601, UTC.
        n: Questions.
        correct: Answered with the key.
        reason: Why it was accepted; demanded where it lowers the bar.
    """

    run: str
    recorded: str
    n: int
    correct: int
    reason: str = ""


class Baseline(_Frozen):
    """A recorded run.

    Attributes:
        schema_version: Version of this form. Version 2 says which answers were cut off, and its
            answers were read without their thoughts. Version 3 names its benchmark; one of MMLU
            does not, and is of version 2.
        target: The target's id.
        benchmark: What was asked.
        letters: The letters of the choices; `""` where answers are free text.
        run: The run that was recorded.
        recorded: When, ISO 8601, UTC.
        fingerprint: Hash of what answered and how.
        identity: What that hash was made from.
        task: The task's name.
        prompt_hash: Hash of the prompt's form.
        dataset: Source, revision, digest and counts of the questions.
        history: All recordings, the present one last.
        served_by: Route behind a router to its answers, see `capgate.serving.routes`.
        subjects: Counts by subject.
        answers: Subject to question hash to `STATE LETTER`, the state one of C, W, U; `U cut off`
            where the token limit ended an unreadable answer.
        texts: Question hash to what was answered, where that was not `ANSWER: LETTER`; null
            where it was too long to be kept.
        tokens: Question hash to the tokens of its answer, where the benchmark is not MMLU: a
            later run's answers are compared in length as well.
        cut_off: Questions whose answer could be read although the token limit ended it, where
            the benchmark is not MMLU.
        looks: How often each question was asked; a verdict must hold by each look.
        again: Question hash to the second look's answer, in the form of `answers`, where that is
            another than the first's.
    """

    schema_version: Literal[1, 2, 3] = 2
    target: str
    benchmark: str = MMLU
    letters: str = "ABCD"
    run: str
    recorded: str
    fingerprint: str
    identity: dict[str, Any]
    task: str
    prompt_hash: str
    dataset: dict[str, Any]
    history: tuple[Revision, ...] = ()
    served_by: dict[str, int] = {}
    subjects: dict[str, SubjectCounts]
    answers: dict[str, dict[str, str]]
    texts: dict[str, str | None] = {}
    tokens: dict[str, int] = {}
    cut_off: tuple[str, ...] = ()
    looks: Literal[1, 2] = 1
    again: dict[str, str] = {}

    @property
    def chance(self) -> float:
        """Accuracy by guessing, as a fraction; 0 where answers are free text."""
        return 1.0 / len(self.letters) if self.letters else 0.0

    @property
    def second_look(self) -> dict[str, AnswerState]:
        """Question hash to how it ended when asked again, where that is not as the first time."""
        return {question: _STATES[code[0]] for question, code in self.again.items()}

    @property
    def comparable_by(self) -> dict[str, Any]:
        """What another run must agree in, to be compared with this one."""
        return comparable(self.identity, self.prompt_hash, self.dataset)

    @property
    def n(self) -> int:
        """Questions recorded."""
        return sum(counts.n for counts in self.subjects.values())

    @property
    def correct(self) -> int:
        """Questions answered with the key."""
        return sum(counts.correct for counts in self.subjects.values())

    def recorded_answers(self) -> list[Answer]:
        """The answers; the text of one that was too long to be kept is empty."""
        cut = frozenset(self.cut_off)
        return [
            Answer(
                question,
                subject,
                _STATES[code[0]],
                choice="" if code == _UNREAD_CUT_OFF else code[2:],
                text=self.texts.get(question, f"ANSWER: {code[2:]}") or "",
                cut_off=code == _UNREAD_CUT_OFF or question in cut,
                completion_tokens=self.tokens.get(question, 0),
            )
            for subject, recorded in self.answers.items()
            for question, code in recorded.items()
        ]

    @cached_property
    def by_question(self) -> dict[str, Single]:
        """Question hash to its recorded answer, as the gate takes it."""
        return {answer.question: Single.of(answer) for answer in self.recorded_answers()}

    @property
    def may_rest_on_thoughts(self) -> bool:
        """Whether its states may have been read from thoughts.

        Version 1 read a model's thought as if it were its answer. A kept text shows that; where
        more than a tenth of the texts were too long to be kept, nothing shows that it was not so.
        """
        if self.schema_version > 1:
            return False
        lost = sum(text is None for text in self.texts.values())
        return lost > 0.1 * self.n or any(
            text and holds_thought(text) for text in self.texts.values()
        )

    def singles(self, questions: Iterable[str]) -> list[Single]:
        """The recorded answers to `questions`, as the gate takes them.

        Raises:
            ReferenceMissingError: One of them was not recorded.
        """
        try:
            return [self.by_question[question] for question in questions]
        except KeyError as error:
            raise ReferenceMissingError(
                f"its baseline has no answer to question {error.args[0]}",
                target=self.target,
                remedy=f"record it anew: capgate baseline update {quote(self.target)}"
                f"{of_benchmark(self.benchmark)}",
            ) from None


def make_baseline(
    answers: Sequence[Answer],
    *,
    second: Sequence[Answer] | None = None,
    reason: str = "",
    history: Sequence[Revision] = (),
    **facts: Any,  # noqa: ANN401
) -> Baseline:
    """Makes a baseline of a run's answers.

    Args:
        answers: One for each question, none an error.
        second: The same questions' answers when asked again; None where they were asked once.
        reason: Why it is accepted.
        history: Earlier recordings.
        facts: The other fields of `Baseline`.

    Raises:
        ConfigError: There are errors among the answers, or none at all.
    """
    errors = sum(answer.state is AnswerState.ERROR for answer in answers)
    if errors or not answers:
        raise ConfigError(
            f"{errors} of {len(answers)} questions have no answer"
            if answers
            else "the run has no answers",
            target=str(facts.get("target", "")),
            remedy="run the benchmark until every question is answered",
        )
    of_mmlu = facts.get("benchmark", MMLU) == MMLU
    groups = by_subject(sorted(answers, key=lambda one: (one.subject, one.question)))
    ordered = [answer for mine in groups.values() for answer in mine]
    recorded = {subject: {a.question: _code(a) for a in mine} for subject, mine in groups.items()}
    counts = {subject: count(codes.values()) for subject, codes in recorded.items()}
    first = {answer.question: _code(answer) for answer in answers}
    again = {answer.question: _code(answer) for answer in second or ()}
    revision = Revision(
        run=facts["run"],
        recorded=facts["recorded"],
        n=len(answers),
        correct=sum(one.correct for one in counts.values()),
        reason=reason,
    )
    return Baseline(
        subjects=counts,
        answers=recorded,
        texts=_kept_texts(ordered),
        tokens={}
        if of_mmlu
        else {a.question: a.completion_tokens for a in ordered if a.completion_tokens},
        cut_off=()
        if of_mmlu
        else tuple(a.question for a in ordered if a.cut_off and a.state.readable),
        served_by=routes_of(answers) if is_routed(facts["identity"]) else {},
        history=(*history, revision),
        looks=1 if second is None else 2,
        again={q: again[q] for q in sorted(again) if again[q] != first[q]},
        **facts,
    )


def _code(answer: Answer) -> str:
    unread = answer.state is AnswerState.UNPARSED
    rest = _CUT_OFF if unread and answer.cut_off else answer.choice
    return f"{_CODES[answer.state]} {rest}".rstrip()


def count(codes: Iterable[str]) -> SubjectCounts:
    """Counts recorded answers by their state."""
    states = [code[:1] for code in codes]
    return SubjectCounts(
        n=len(states),
        correct=states.count("C"),
        wrong=states.count("W"),
        unparsed=states.count("U"),
    )


def load_baseline(path: Path, *, benchmark: str | None = None) -> Baseline:
    """Reads a baseline.

    Args:
        path: Its file.
        benchmark: The benchmark that it has to be of; any where None.

    Raises:
        ConfigError: It can't be read, has faults, or is of another benchmark.
    """
    try:
        baseline = Baseline.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the baseline {path} can't be read", said=str(error)) from None
    except ValidationError as error:
        raise _faulty(path, data_faults(error)) from None
    faults = [
        FileFault(f"answers.{subject}.{question}", f"unknown state {code!r}")
        for subject, recorded in baseline.answers.items()
        for question, code in recorded.items()
        if code[:1] not in _STATES
    ]
    known = {question for recorded in baseline.answers.values() for question in recorded}
    faults += [
        FileFault(
            f"again.{question}",
            f"unknown state {code!r}" if question in known else "no such question in answers",
        )
        for question, code in baseline.again.items()
        if code[:1] not in _STATES or question not in known
    ]
    if not known:
        faults.append(FileFault("answers", "there is none"))
    faults += _odd_facts(baseline)
    if faults:
        raise _faulty(path, faults)
    if benchmark not in (None, baseline.benchmark):
        raise ConfigError(
            f"the baseline {path} is not of {benchmark}: it is of {baseline.target} on "
            f"{baseline.benchmark}",
            remedy="files are named TARGET.json for mmlu and TARGET.BENCHMARK.json for others; "
            "rename the target where both make the same name",
        )
    return baseline


def _odd_facts(baseline: Baseline) -> Iterator[FileFault]:
    """What is missing, or of another kind, among the facts that every reader relies on."""
    generation = baseline.identity.get("generation")
    for name, kind, facts in (
        ("identity.versions", dict, baseline.identity),
        ("generation.max_tokens", int, generation),
        ("dataset.digest", str, baseline.dataset),
        ("dataset.source", str, baseline.dataset),
    ):
        key = name.split(".")[1]
        if not isinstance(facts, dict) or (key not in facts and key != "source"):
            yield FileFault(name, "is missing")
        elif not isinstance(facts.get(key, ""), kind):
            yield FileFault(name, f"is of another kind than {kind.__name__}")
    for subject, counts in baseline.subjects.items():
        states = counts.correct, counts.wrong, counts.unparsed
        if min(states) < 0 or not 0 < counts.n == sum(states) <= _MOST:
            yield FileFault(f"subjects.{subject}", "these are no counts of answers")
    if not baseline.subjects:
        yield FileFault("subjects", "there is none")


def dump_baseline(baseline: Baseline) -> str:
    """A baseline as text, one line for each question."""
    return json.dumps(plain_baseline(baseline), indent=1, ensure_ascii=False) + "\n"


def plain_baseline(baseline: Baseline) -> dict[str, Any]:
    """A baseline as its file holds it."""
    left_out = _NAMED if baseline.benchmark == MMLU else set()
    return baseline.model_dump(mode="json", exclude=left_out)


def _kept_texts(answers: Iterable[Answer]) -> dict[str, str | None]:
    kept: dict[str, str | None] = {}
    room = TEXTS_LIMIT
    for answer in answers:
        if answer.text == f"ANSWER: {answer.choice}":
            continue
        fits = len(answer.text) <= min(TEXT_LIMIT, room)
        kept[answer.question] = answer.text if fits else None
        room -= len(answer.text) if fits else 0
    return kept


def _faulty(path: Path, faults: Sequence[FileFault]) -> ConfigError:
    return ConfigError(
        f"the baseline {path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
        faults=faults[:20],
        remedy="restore it from version control, or record it anew",
    )
