"""Why a question flipped: one label for each, and the drop in its two shares.

Pure functions over the two sides' answers. The labels stand in the order in which they are
tried, so that a question has exactly one:

| label | the question flipped |
|---|---|
| `error` | because a side gave no answer |
| `unparsed` | since no choice could be read from the answer (format) |
| `does not stop` | while only the failed side's answer went on to the token limit (format) |
| `letter shift` | to a letter that the candidate prefers far more than the reference does |
| `near tie` | while a side's two likeliest choices stood within 0.1 nat |
| `known bad label` | and MMLU-Redux says that the question or its key is faulty |
| `duplicate` | and another question of the run has the same text and choices |
| `knowledge` | for none of these reasons |

A question that is answered in free text has no letters. It has one of these:

| label | the question flipped |
|---|---|
| `error` | because a side gave no answer |
| `cut off` | while the token limit ended the failed side's answer (format) |
| `format` | since nothing that is checked could be read from the answer |
| `knowledge` | for none of these reasons |

A gain is labelled by the same rules, from the side that failed: the reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from capgate.common.answers import AnswerState, is_formless
from capgate.common.grouping import by_subject
from capgate.gate.stats import mcnemar_exact
from capgate.report.data.comparison import ALL_LABELS, Change, Flip, Label, Shift, Side, Split

NEAR_TIE_NATS: Final = 0.1
SHIFT_SHARE: Final = 0.10
"""Rise of a letter's share of the answers above which it may be called a shift."""

SHIFT_P: Final = 0.001
"""Exact p-value, over all letters and groups looked at together, that it needs as well."""


@dataclass(frozen=True, slots=True)
class AskedPair:
    """Both sides' answers to one question.

    Attributes:
        question: Content hash.
        subject: Its subject.
        reference: The reference's.
        candidate: The candidate's.
    """

    question: str
    subject: str
    reference: Side
    candidate: Side


def label_of(
    change: Change,
    reference: Side,
    candidate: Side,
    *,
    shifted: Iterable[str] = (),
    bad_label: bool = False,
    duplicated: bool = False,
    free_text: bool = False,
) -> Label:
    """The one label of a flipped question.

    Args:
        change: Loss or gain.
        reference: The reference's answer.
        candidate: The candidate's answer.
        shifted: Letters that the candidate prefers far more, here or in the run as a whole.
        bad_label: Whether the question or its key is known to be faulty.
        duplicated: Whether another question of the run is the same.
        free_text: Whether it is answered in free text.
    """
    failed, kept = (candidate, reference) if change == "loss" else (reference, candidate)
    if AnswerState.ERROR in (reference.state, candidate.state):
        return "error"
    unread = failed.state is AnswerState.UNPARSED
    if free_text:
        if failed.cut_off and (unread or not kept.cut_off):
            return "cut off"
        return "format" if unread else "knowledge"
    if unread:
        return "unparsed"
    if failed.cut_off and not kept.cut_off:
        return "does not stop"
    if candidate.choice in set(shifted):
        return "letter shift"
    margins = [m for m in (reference.margin, candidate.margin) if m is not None]
    if any(abs(margin) <= NEAR_TIE_NATS for margin in margins):
        return "near tie"
    if bad_label:
        return "known bad label"
    return "duplicate" if duplicated else "knowledge"


def change_of(reference: AnswerState, candidate: AnswerState) -> Change | None:
    """How a question flipped; None where it did not.

    A question that the reference got right and the candidate has no answer to is shown as
    lost (`error`), though the gate scores it on neither side.
    """
    if reference is AnswerState.CORRECT and candidate is not AnswerState.CORRECT:
        return "loss"
    if candidate is AnswerState.CORRECT and reference.scored and reference is not candidate:
        return "gain"
    return None


def letter_shifts(pairs: Sequence[AskedPair], letters: str = "ABCD") -> tuple[Shift, ...]:
    """Letters that the candidate prefers far more than the reference, by subject and over all.

    "Far more": at least 10 points more of its readable answers, and exact McNemar on "chose
    this letter" at a p-value of 0.001, shared out over every letter and group looked at. Over
    all means over the subjects that do not show the shift by themselves already.
    """
    readable = [pair for pair in pairs if pair.reference.choice and pair.candidate.choice]
    groups = by_subject(readable)
    looks = (len(groups) + 1) * len(letters)
    found = [
        shift
        for subject, mine in sorted(groups.items())
        for letter in letters
        if (shift := _shift(letter, subject, mine, looks))
    ]
    overall: list[Shift] = []
    for letter in letters:
        alone = {one.subject for one in found if one.letter == letter}
        rest = [pair for pair in readable if pair.subject not in alone]
        if shift := _shift(letter, None, rest, looks):
            overall.append(shift)
    return (*overall, *found)


def _shift(
    letter: str, subject: str | None, pairs: Sequence[AskedPair], looks: int
) -> Shift | None:
    """The shift to a letter over some pairs; None where it is small or may be chance."""
    ours = sum(pair.candidate.choice == letter for pair in pairs)
    theirs = sum(pair.reference.choice == letter for pair in pairs)
    if not pairs or (ours - theirs) / len(pairs) < SHIFT_SHARE:
        return None
    both = sum(pair.candidate.choice == letter == pair.reference.choice for pair in pairs)
    p = mcnemar_exact(ours - both, theirs - both)
    if p * looks > SHIFT_P:
        return None
    return Shift(
        letter=letter,
        subject=subject,
        reference_share=theirs / len(pairs),
        candidate_share=ours / len(pairs),
        p=p,
    )


def shifted_in(shifts: Iterable[Shift], subject: str) -> frozenset[str]:
    """The letters shifted in a subject, by itself or with the run as a whole."""
    return frozenset(one.letter for one in shifts if one.subject in (None, subject))


def split_drop(
    pairs: Sequence[AskedPair],
    again: Mapping[tuple[str, str], AnswerState],
    *,
    reason: str = "",
) -> Split:
    """Splits the drop into format and knowledge.

    Format is what a constrained answer makes good. It is asked for where no choice could be read,
    and where a wrong answer went on until the token limit. A constrained answer that can't be
    read either tells nothing.

    Args:
        pairs: All questions of both sides.
        again: `(side, question)` to the state of the constrained answer, the side being
            `reference` or `candidate`; empty where nothing was asked again.
        reason: Why nothing was.
    """
    scored = [p for p in pairs if p.reference.state.scored and p.candidate.state.scored]
    formless = [
        (side, pair.question)
        for pair in scored
        for side, one in (("reference", pair.reference), ("candidate", pair.candidate))
        if is_formless(one)
    ]
    if not scored:
        return Split(status="not needed")
    n = len(scored)
    drop = sum(_value(p.reference.state) - _value(p.candidate.state) for p in scored) / n
    if not formless:
        return Split(status="not needed", drop=drop, format=0.0, knowledge=drop)
    answered = [key for key in formless if key in again and again[key].readable]
    if not answered:
        lost = sum(
            is_formless(p.candidate) and p.reference.state is AnswerState.CORRECT for p in scored
        )
        unread = sum(key in again and again[key] is AnswerState.UNPARSED for key in formless)
        return Split(
            status="not had",
            reason=reason
            or (
                f"{unread:,} could not be read either when asked once more in a constrained form"
                if unread
                else "they were not asked again"
            ),
            questions=len(formless),
            drop=drop,
            format_at_most=lost / n,
        )
    kept = set(answered)

    def state(side: str, question: str, one: Side) -> AnswerState:
        return again[side, question] if (side, question) in kept else one.state

    knowledge = (
        sum(
            _value(state("reference", p.question, p.reference))
            - _value(state("candidate", p.question, p.candidate))
            for p in scored
        )
        / n
    )
    return Split(
        status="asked",
        reason=reason,
        questions=len(formless),
        asked=len(answered),
        drop=drop,
        format=drop - knowledge,
        knowledge=knowledge,
    )


def _value(state: AnswerState) -> int:
    return int(state is AnswerState.CORRECT)


def label_counts(flips: Iterable[Flip]) -> dict[str, int]:
    """Label to the losses that have it, in the labels' order, without those that none has."""
    counts = Counter(flip.label for flip in flips if flip.change == "loss")
    return {label: counts[label] for label in ALL_LABELS if counts[label]}
