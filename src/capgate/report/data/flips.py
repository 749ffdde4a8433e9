"""A run's comparisons, read from the store: every question that flipped, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from capgate.benchmarks.mmlu.known_errors import Redux
from capgate.common.answers import Answer, AnswerState, is_formless
from capgate.common.grouping import by_subject, grouped
from capgate.report.data.comparison import Comparison, Flip, Paired, Side
from capgate.report.data.kept_texts import KeptTexts
from capgate.report.data.labels import (
    AskedPair,
    change_of,
    label_counts,
    label_of,
    letter_shifts,
    shifted_in,
    split_drop,
)
from capgate.store.answer_rows import Stored
from capgate.store.answer_store import Store
from capgate.store.baselines import Baseline

FindBaseline = Callable[[str], Baseline | None]


Look = Literal["first", "constrained"]
Used = Callable[[str, Look], Sequence[Stored]]
"""Target and look to its answers that count, of one benchmark in one run."""


@dataclass(frozen=True)
class Asked:
    """What of a benchmark its comparisons need.

    Attributes:
        name: The benchmark's name.
        parents: Group to the parent that it belongs to.
        letters: The letters of the choices; `""` where answers are free text.
        texts: Its questions.
        baseline: Finds a target's recorded baseline.
        redux: MMLU-Redux's annotations, where the benchmark is MMLU.
    """

    name: str
    parents: Mapping[str, str]
    letters: str
    texts: KeptTexts
    baseline: FindBaseline | None = None
    redux: Redux | None = None


def compare(
    store: Store,
    target: str,
    reference: Mapping[str, Any],
    *,
    used: Used,
    benchmark: Asked,
    reask_reason: str = "",
) -> Comparison:
    """Compares a target with its reference, question by question.

    Args:
        store: Where the answers are.
        target: The target.
        reference: What it was compared with (`references.describe`).
        used: The answers that count in the run.
        benchmark: What was asked.
        reask_reason: Why unparsed questions were not asked again.
    """
    candidate = {s.answer.question: s.answer for s in used(target, "first")}
    free_text = not benchmark.letters
    sides, note = _reference_sides(store, used, target, reference, candidate, benchmark)
    if sides is None:
        return Comparison(reference=dict(reference), note=note, free_text=free_text)
    pairs = [
        AskedPair(question, answer.subject, sides[question], Side.of(answer))
        for question, answer in candidate.items()
        if question in sides
    ]
    missing = len(candidate) - len(pairs)
    if missing:
        note = f"{missing} questions are left out: the reference has no answer to them"
    again = _asked_again(used, target, str(reference.get("target", "")))
    shifts = letter_shifts(pairs, benchmark.letters)
    parents = benchmark.parents
    by_parent = grouped(pairs, lambda pair: parents.get(pair.subject))
    flips = _flips(pairs, benchmark.texts, again)
    # A constrained answer that has no form either tells nothing.
    states = {
        key: AnswerState.UNPARSED if is_formless(side) else side.state
        for key, side in again.items()
    }
    plain = Comparison(
        reference=dict(reference),
        note=note,
        overall=paired(pairs),
        domains={
            parent: paired(by_parent[parent])
            for parent in dict.fromkeys(parents.values())
            if parent in by_parent
        },
        subjects=_by_subject(pairs),
        shifts=shifts,
        split=split_drop(pairs, states, reason=reask_reason),
        flips=tuple(flips),
        free_text=free_text,
    )
    return relabel(plain, benchmark.redux)


def relabel(comparison: Comparison, redux: Redux | None) -> Comparison:
    """Labels the flips anew, from what the comparison itself holds.

    Args:
        comparison: As a report has it.
        redux: MMLU-Redux's annotations; without them a label that came from them is kept.
    """
    flips: list[Flip] = []
    known = 0
    for flip in comparison.flips:
        question = flip.subject, flip.text, flip.choices
        bad = flip.note if redux is None else redux.fault_of(*question)
        known += redux is not None and redux.knows(*question)
        label = label_of(
            flip.change,
            flip.reference,
            flip.candidate,
            shifted=shifted_in(comparison.shifts, flip.subject),
            bad_label=bool(bad),
            duplicated=flip.duplicated,
            free_text=comparison.free_text,
        )
        flips.append(flip.model_copy(update={"label": label, "note": bad}))
    flips.sort(key=lambda f: (f.change != "loss", f.subject, f.question))
    said = comparison.redux
    if redux is not None:
        said = f"{redux.name}: {known} of {len(flips)} flipped questions are annotated"
        if redux.refused:
            said += f"; {redux.refused} rows do not fit the data set and were left out"
    return comparison.model_copy(
        update={"flips": tuple(flips), "labels": label_counts(flips), "redux": said}
    )


def paired(pairs: Iterable[AskedPair]) -> Paired:
    """Counts pairs as the gate does: errors on either side are left out."""
    n = losses = gains = theirs = ours = 0
    for pair in pairs:
        reference, candidate = pair.reference.state, pair.candidate.state
        if not (reference.scored and candidate.scored):
            continue
        right, kept = reference is AnswerState.CORRECT, candidate is AnswerState.CORRECT
        n += 1
        theirs += right
        ours += kept
        losses += right and not kept
        gains += kept and not right
    return Paired(
        n=n,
        losses=losses,
        gains=gains,
        reference_accuracy=theirs / n if n else None,
        candidate_accuracy=ours / n if n else None,
        drop=(losses - gains) / n if n else None,
    )


def _by_subject(pairs: Sequence[AskedPair]) -> dict[str, Paired]:
    return {subject: paired(mine) for subject, mine in sorted(by_subject(pairs).items())}


def _reference_sides(
    store: Store,
    used: Used,
    target: str,
    reference: Mapping[str, Any],
    candidate: Mapping[str, Answer],
    benchmark: Asked,
) -> tuple[dict[str, Side] | None, str]:
    """Question to the reference's answer, and what there is to say of it."""
    kind = reference.get("kind")
    if kind == "base":
        base = str(reference["target"])
        return {s.answer.question: Side.of(s.answer) for s in used(base, "first")}, ""
    if kind != "baseline":
        if kind in {"floor", "published"}:
            return None, "held against an accuracy: there is no reference to pair questions with"
        return None, "compared with nothing"
    recorded = benchmark.baseline(target) if benchmark.baseline is not None else None
    if recorded is None or recorded.run != reference.get("run", recorded.run):
        return None, "the recorded baseline that it was compared with is no longer there"
    # The file keeps short texts; the store may have the rest.
    kept = store.used(recorded.run, recorded.target, benchmark=benchmark.name)
    stored = {one.answer.question: one.answer for one in kept}
    sides: dict[str, Side] = {}
    for answer in recorded.recorded_answers():
        if answer.question not in candidate:
            continue
        one = stored.get(answer.question)
        same = one is not None and (one.state, one.choice) == (answer.state, answer.choice)
        short = recorded.texts.get(answer.question, answer.text)
        sides[answer.question] = Side(
            state=answer.state,
            choice=answer.choice,
            text=one.text if one is not None and same else short,
            margin=one.margin if one is not None and same else None,
        )
    return sides, ""


def _asked_again(used: Used, target: str, base: str) -> dict[tuple[str, str], Side]:
    """`(side, question)` to the constrained answer, of those that were asked for one."""
    found: dict[tuple[str, str], Side] = {}
    for side, name in (("reference", base), ("candidate", target)):
        if name:
            for stored in used(name, "constrained"):
                found[side, stored.answer.question] = Side.of(stored.answer)
    return found


def _flips(
    pairs: Sequence[AskedPair],
    kept_texts: KeptTexts,
    again: Mapping[tuple[str, str], Side],
) -> list[Flip]:
    texts = kept_texts.of([pair.question for pair in pairs])
    duplicated = kept_texts.duplicated(texts.values())
    flips: list[Flip] = []
    for pair in pairs:
        change = change_of(pair.reference.state, pair.candidate.state)
        if change is None:
            continue
        kept = texts.get(pair.question)
        flips.append(
            Flip(
                question=pair.question,
                subject=pair.subject,
                change=change,
                label="knowledge",
                text=kept.text if kept else "",
                choices=kept.choices if kept else (),
                key=kept.key if kept else "",
                reference=pair.reference,
                candidate=pair.candidate,
                asked_again=again.get(
                    ("candidate" if change == "loss" else "reference", pair.question)
                ),
                duplicated=pair.question in duplicated,
            )
        )
    return flips
