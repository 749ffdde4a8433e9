"""The flipped questions as they are packed into the HTML report: deflated, in base64."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from capgate.benchmarks.recorded import known_parents
from capgate.common.text import printable
from capgate.report.data.comparison import ALL_LABELS, Comparison, Flip, Label, Side
from capgate.report.data.nouns import is_mmlu_alone, part_name
from capgate.report.data.result import Report
from capgate.report.text.advice import reference_name, subjects_to_read
from capgate.report.text.shown_commands import look_command

_CUTS: Final = (20_000, 4_000, 1_000, 300)
"""Characters that an answer may have; the next is tried where the page would be too big."""

_TRIES: Final = 8
_NEAR: Final = 0.01
"""Share of the room that may stay empty where not all texts fit."""


def pack(report: Report, room: int) -> tuple[str, int]:
    """Packs a run's flips.

    What is lost in failed subjects comes first; where not all fits, long answers are cut
    first, then the texts of the last questions are left out. Letters, labels and margins are
    always there.

    Args:
        report: The report, already redacted.
        room: Bytes that the result may have.

    Returns:
        The packed text, and how many questions are not in it in full.
    """
    flips = [flip for *_, one in _comparisons(report) for flip in one.flips]
    longest = max((len(text) for flip in flips for text in _texts(flip)), default=0)
    cuts = [None, *(cut for cut in _CUTS if cut < longest)]
    least = cuts[-1]
    for cut in cuts:
        packed, shortened = _packed(report, cut, None)
        if len(packed) <= room:
            return packed, shortened
    # Size grows about evenly with the questions that keep their text: aim, then close in.
    most, most_size = len({flip.question for flip in flips}), len(packed)
    best = _packed(report, least, 0)
    fewest, fewest_size = 0, len(best[0])
    for _ in range(_TRIES):
        if fewest_size > room or most - fewest <= most * _NEAR:
            break
        share = (room - fewest_size) / (most_size - fewest_size)
        middle = fewest + min(max(int((most - fewest) * share * 0.995), 1), most - fewest - 1)
        tried = _packed(report, least, middle)
        if len(tried[0]) <= room:
            fewest, fewest_size, best = middle, len(tried[0]), tried
            if fewest_size >= room * (1 - _NEAR):
                break
        else:
            most, most_size = middle, len(tried[0])
    return best


def unpack(packed: str) -> dict[str, Any]:
    """What `pack` packed, as the page's script reads it."""
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def _packed(report: Report, cut: int | None, kept: int | None) -> tuple[str, int]:
    targets: list[dict[str, Any]] = []
    questions: dict[str, list[Any]] = {}
    shortened: set[str] = set()
    alone = is_mmlu_alone(report)
    order = list(report.sections)
    for benchmark, target, comparison in _comparisons(report):
        # A question may be in two benchmarks, in another group of each.
        before = "" if alone else f"{order.index(benchmark)}:"
        result = report.sections[benchmark].targets[target]
        verdict = result.verdict
        failed = subjects_to_read(verdict, result.parent_of) if verdict else frozenset()
        flips = sorted(
            comparison.flips,
            key=lambda f: (f.change != "loss", f.subject not in failed, f.subject, f.question),
        )
        rows = []
        for flip in flips:
            key = before + flip.question
            if key not in questions:
                with_text = kept is None or len(questions) < kept
                questions[key] = _question(flip, with_text)
                if not with_text:
                    shortened.add(key)
            if cut is not None and any(len(text) > cut for text in _texts(flip)):
                shortened.add(key)
            rows.append(_flip(flip, cut if kept is None or key not in shortened else 0))
        name = part_name(report, benchmark, target)
        one: dict[str, Any] = {
            "name": name,
            "reference": reference_name(comparison.reference),
            "flips": rows,
        }
        if not alone:
            one |= {
                "id": target,
                "benchmark": benchmark,
                "before": before,
                "domains": dict(result.parent_of),
            }
        targets.append(one)
    data = {
        "show": look_command(
            report,
            *("show", report.run, "QUESTION", "--target", "TARGET"),
            *(() if alone else ("--benchmark", "BENCHMARK")),
        ),
        "targets": targets,
        "questions": questions,
        "labels": tried_labels(report),
    }
    if alone:
        data["domains"] = dict(known_parents(report.benchmark))
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(zlib.compress(raw, 9)).decode(), len(shortened)


def tried_labels(report: Report) -> list[Label]:
    """The labels that a run's flips may have, in the order in which they are tried."""
    tried = {label for *_, one in _comparisons(report) for label in one.tried}
    return [label for label in ALL_LABELS if label in tried]


def _comparisons(report: Report) -> Iterator[tuple[str, str, Comparison]]:
    """Yields benchmark, target and comparison, of all benchmarks."""
    for benchmark, section in report.sections.items():
        for target, comparison in section.comparisons.items():
            yield benchmark, target, comparison


def _question(flip: Flip, with_text: bool) -> list[Any]:
    if not with_text:
        return [flip.subject, None, [], flip.key]
    return [flip.subject, printable(flip.text), [printable(c) for c in flip.choices], flip.key]


def _texts(flip: Flip) -> Iterator[str]:
    for side in (flip.reference, flip.candidate, flip.asked_again):
        if side is not None and side.text:
            yield side.text


def _flip(flip: Flip, cut: int | None) -> Mapping[str, Any]:
    return {
        "q": flip.question,
        "change": flip.change,
        "label": flip.label,
        "note": printable(flip.note),
        "r": _side(flip.reference, cut),
        "c": _side(flip.candidate, cut),
        "a": _side(flip.asked_again, cut) if flip.asked_again else None,
    }


def _side(side: Side, cut: int | None) -> dict[str, Any]:
    text = side.text
    if text is not None and cut is not None and len(text) > cut:
        text = f"{text[:cut]}… ({len(text) - cut:,} more characters: capgate show has them all)"
    return {
        "s": side.state.value,
        "c": side.choice,
        "t": None if text is None else printable(text),
        "m": None if side.margin is None else round(side.margin, 4),
    }
