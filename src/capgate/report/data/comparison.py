"""A target and its reference, question by question: the data that triage and reports share."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from capgate.common.answers import Answer, AnswerState
from capgate.report.data.forms import LeavesOut, ReferenceDict

Label = Literal[
    "error",
    "unparsed",
    "does not stop",
    "letter shift",
    "near tie",
    "known bad label",
    "duplicate",
    "cut off",
    "format",
    "knowledge",
]
ALL_LABELS: Final[tuple[Label, ...]] = get_args(Label)
"""All labels, in the order in which they are tried."""

FREE_TEXT_LABELS: Final[tuple[Label, ...]] = ("error", "cut off", "format", "knowledge")
"""Those of a question that is answered in free text, in the same order."""

LABELS: Final = tuple(one for one in ALL_LABELS if one not in {"cut off", "format"})
"""Those of a question with choices, in the same order."""

MEANINGS: Final[dict[Label, str]] = {
    "error": "a side gave no answer; not scored",
    "unparsed": "answered, but no choice could be read (format)",
    "does not stop": "the answer goes on until the token limit ends it (format)",
    "letter shift": "went to a letter that the candidate prefers far more than the reference",
    "near tie": "the two likeliest choices stood within 0.1 nat",
    "known bad label": "MMLU-Redux says that the question or its key is faulty",
    "duplicate": "another question of this run has the same text and choices",
    "cut off": "the token limit ended the answer (format)",
    "format": "answered, but nothing could be read that is checked (format)",
    "knowledge": "none of these: the answer itself is another",
}
"""What each label says, as a clause."""

Change = Literal["loss", "gain"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Side(_Model):
    """One side's answer to a flipped question.

    Attributes:
        state: How it ended.
        choice: The letter that was read, `""` where none was.
        text: The whole answer; null where it was not kept (a recorded baseline has none).
        margin: Natural-log odds of the answered choice over the next-best one; null where no
            log-probabilities are at hand.
        cut_off: Whether the token limit ended it.
    """

    state: AnswerState
    choice: str = ""
    text: str | None = None
    margin: float | None = None
    cut_off: bool = False

    @classmethod
    def of(cls, answer: Answer) -> Side:
        """The side that an answer is."""
        return cls(
            state=answer.state,
            choice=answer.choice,
            text=answer.text,
            margin=answer.margin,
            cut_off=answer.cut_off,
        )


class Flip(_Model):
    """A question that one side answers right and the other does not.

    Attributes:
        question: Content hash.
        subject: Its subject.
        change: `loss` (the reference is right) or `gain` (the candidate is).
        label: Why, see `MEANINGS`.
        note: More on that, such as MMLU-Redux's word.
        text: The question.
        choices: Its choices.
        key: The right letter.
        reference: The reference's answer.
        candidate: The candidate's answer.
        asked_again: The candidate's constrained answer, where it was asked for one.
        duplicated: Whether another question of the run has the same text and choices.
    """

    question: str
    subject: str
    change: Change
    label: Label
    note: str = ""
    text: str
    choices: tuple[str, ...]
    key: str
    reference: Side
    candidate: Side
    asked_again: Side | None = None
    duplicated: bool = False


class Shift(_Model):
    """A letter that the candidate prefers far more than the reference does.

    Attributes:
        letter: The letter.
        subject: Where; null for the run as a whole.
        reference_share: Its share of the reference's readable answers.
        candidate_share: The same of the candidate's.
        p: Exact one-sided p-value of "no more often than the reference" (McNemar).
    """

    letter: str
    subject: str | None
    reference_share: float
    candidate_share: float
    p: float


class Split(_Model):
    """The drop in two shares, both in accuracy as fractions of the questions scored.

    Unparsed questions are asked once more with a constrained answer. What of the drop is
    left then is the knowledge share; the rest was format.

    Attributes:
        status: `not needed` (nothing was unparsed), `asked`, or `not had`.
        reason: Why it was not had.
        questions: Unparsed answers of both sides.
        asked: Of them, asked once more.
        drop: The drop.
        format: Share of the drop that a constrained answer takes away.
        knowledge: Share that stays.
        format_at_most: Where nothing was asked again: the share if every unparsed loss
            turned out right.
    """

    status: Literal["not needed", "asked", "not had"]
    reason: str = ""
    questions: int = 0
    asked: int = 0
    drop: float | None = None
    format: float | None = None
    knowledge: float | None = None
    format_at_most: float | None = None


class Paired(_Model):
    """Counts of a subject, a domain or all questions, as the gate counts them."""

    n: int
    losses: int
    gains: int
    reference_accuracy: float | None
    candidate_accuracy: float | None
    drop: float | None


class Comparison(LeavesOut):
    """A target and its reference, question by question.

    Attributes:
        reference: What it is compared with: `kind`, and `target`, `run` or `accuracy`.
        note: What is missing from the comparison, and why.
        overall: Counts over all questions.
        domains: Counts by domain.
        subjects: Counts by subject.
        shifts: Letters that the candidate prefers far more than the reference.
        labels: Label to losses with it, in the order in which they are tried.
        split: The drop's format and knowledge share.
        redux: What the annotation file said, where one was given.
        flips: Losses first, by subject.
        free_text: Whether answers are free text, so that the labels are `FREE_TEXT_LABELS`.
    """

    left_out: ClassVar[frozenset[str]] = frozenset({"free_text"})

    reference: ReferenceDict
    note: str = ""
    overall: Paired | None = None
    domains: dict[str, Paired] = Field(default_factory=dict)
    subjects: dict[str, Paired] = Field(default_factory=dict)
    shifts: tuple[Shift, ...] = ()
    labels: dict[str, int] = Field(default_factory=dict)
    split: Split | None = None
    redux: str | None = None
    flips: tuple[Flip, ...] = ()
    free_text: bool = False

    @property
    def tried(self) -> tuple[Label, ...]:
        """The labels that its flips may have."""
        return FREE_TEXT_LABELS if self.free_text else LABELS

    @property
    def losses(self) -> tuple[Flip, ...]:
        """The questions lost, errors included."""
        return tuple(flip for flip in self.flips if flip.change == "loss")
