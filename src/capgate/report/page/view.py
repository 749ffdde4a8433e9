"""What the page's template shows of a target: on one benchmark, and over all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capgate.benchmarks.recorded import nouns_of
from capgate.common.nouns import Nouns
from capgate.gate.verdict import Evidence
from capgate.report.data.comparison import Comparison, Shift
from capgate.report.data.counting import answered_by
from capgate.report.data.history import Entry, by_series
from capgate.report.data.missing import Missing, missing_of, notes_of
from capgate.report.data.nouns import part_name
from capgate.report.data.result import Group, Report, Result, Unread, answered_of
from capgate.report.data.standings import standings
from capgate.report.page.charts import (
    DomainBars,
    DropChart,
    EvidenceChart,
    TrendChart,
    drop_chart,
    evidence_chart,
    subject_bars,
    trend_chart,
)
from capgate.report.text.advice import (
    failed_domains,
    failed_subjects,
    next_steps,
    points,
    reference_name,
    split_sentence,
)
from capgate.report.text.over_all import UNJUDGED, budget_line, cells, suite_headline, suite_steps
from capgate.report.text.published_lines import published_lines

_MOST_UNREAD: Final = 20
"""Unreadable answers that are shown of a benchmark; of one of several, fewer."""

_FEWEST_UNREAD: Final = 3

SIGNS: Final = {
    "PASS": "✓",
    "REGRESSION": "✕",
    "INCONCLUSIVE": "?",
    "ERROR": "!",
    "MEASURED": "·",
    "lost": "✕",
    "kept": "✓",
    "too few to tell": "?",
}


@dataclass(frozen=True)
class Row:
    """A row of the table of accuracies."""

    name: str
    one: Group
    reference: float | None
    verdict: str
    head: bool


@dataclass(frozen=True)
class View:
    """What the template shows of one target on one benchmark.

    `name` is the target's id, with the benchmark's where that is not MMLU alone.
    """

    name: str
    target: str
    benchmark: str
    nouns: Nouns
    anchor: str
    kind: str
    sign: str
    verdict: dict[str, Any] | None
    result: Result
    reference: str
    steps: list[str]
    numbers: list[tuple[str, str]]
    drop: DropChart | None
    bars: tuple[DomainBars, ...]
    evidence: EvidenceChart | None
    labels: dict[str, int]
    split: str
    parts: dict[str, Any] | None
    shifts: tuple[Shift, ...]
    redux: str
    note: str
    scores: list[list[Row]]
    published: list[str]
    unparsed: str
    trend: TrendChart | None
    entries: dict[str, list[Entry]]
    runs: int
    notes: list[str]
    missing: list[Missing]
    facts: list[tuple[str, str]]
    unread: tuple[Unread, ...]


@dataclass(frozen=True)
class SuiteView:
    """What the template shows of one target over all benchmarks.

    Attributes:
        target: Its id.
        anchor: Where the page has it.
        kind: The verdict over all, or that there is none.
        sign: The kind's sign.
        headline: That in a sentence.
        reasons: Why.
        steps: What to do next.
        rows: A row for each benchmark: where the page has it (`""` for nowhere), its cells, and
            whether it is advisory.
        budget: How the chance of a false alarm was divided.
    """

    target: str
    anchor: str
    kind: str
    sign: str
    headline: str
    reasons: list[str]
    steps: list[str]
    rows: list[tuple[str, list[str], bool]]
    budget: str


def suite_view(number: int, target: str, report: Report, views: Sequence[View]) -> SuiteView:
    """What is shown of a target over all benchmarks.

    Args:
        number: Which of the page's it is, from 1.
        target: The target's id.
        report: The report.
        views: What is shown on each benchmark.
    """
    suite, standing = report.suites.get(target), standings(report, target)
    kind = suite["kind"] if suite else "MEASURED"
    places = {(one.target, one.benchmark): f"#{one.anchor}" for one in views}
    return SuiteView(
        target=target,
        anchor=f"suite-{number}",
        kind=kind if suite else UNJUDGED,
        sign=SIGNS[kind],
        headline=suite_headline(target, suite, standing),
        reasons=suite["reasons"] if suite else [],
        budget=budget_line(suite),
        steps=suite_steps(suite, standing),
        rows=[
            (places.get((target, one.benchmark), ""), cells(one), one.advisory) for one in standing
        ],
    )


def view_of(
    number: int, benchmark: str, target: str, report: Report, history: Sequence[Entry]
) -> View:
    """What is shown of a target on a benchmark.

    Args:
        number: Which of the page's it is, from 1.
        benchmark: The benchmark's name.
        target: The target's id.
        report: The report.
        history: Runs, oldest first, this one among them.
    """
    section = report.sections[benchmark]
    result, comparison = section.targets[target], section.comparisons.get(target)
    verdict = result.verdict
    kind = verdict["kind"] if verdict else "MEASURED"
    mine = [one for one in history if (one.target, one.benchmark) == (target, benchmark)]
    trend = trend_chart(mine, report.run)
    groups = by_series([entry for entry in mine if entry.accuracy is not None])
    if verdict:
        verdict = {**verdict, "evidence": [_evidence(one) for one in verdict["evidence"]]}
    return View(
        name=part_name(report, benchmark, target),
        target=target,
        benchmark=benchmark,
        nouns=nouns_of(benchmark),
        anchor=f"target-{number}",
        kind=kind,
        sign=SIGNS[kind],
        verdict=verdict,
        result=result,
        reference=reference_name(result.reference or _kind_alone(verdict)),
        steps=next_steps(verdict, comparison, result),
        numbers=_numbers(result, comparison),
        drop=drop_chart(verdict) if verdict else None,
        bars=_bars(result, comparison),
        evidence=evidence_chart(result.path, verdict["evidence"] if verdict else ()),
        labels=comparison.labels if comparison else {},
        split=split_sentence(comparison.split) if comparison else "",
        parts=_parts(comparison),
        shifts=comparison.shifts if comparison else (),
        redux=(comparison.redux or "") if comparison else "",
        note=comparison.note if comparison else "",
        scores=_scores(result, comparison),
        published=published_lines(section, target),
        unparsed=_unparsed(verdict),
        trend=trend,
        entries={
            line.name: list(reversed(entries))
            for line, entries in zip(trend.lines if trend else (), groups.values(), strict=False)
        },
        runs=sum(len(line.marks) for line in trend.lines) if trend else 0,
        notes=[f"{name}: {note}" for name, note in notes_of(section, target)],
        missing=[one for one in missing_of(section, target) if one.target != target],
        facts=_facts(result),
        # However many benchmarks there are, the page keeps about its size.
        unread=result.unread[: max(_FEWEST_UNREAD, _MOST_UNREAD // len(report.sections))],
    )


def _bars(result: Result, comparison: Comparison | None) -> tuple[DomainBars, ...]:
    if comparison is None:
        return ()
    verdict = result.verdict
    failed, domains = (failed_subjects(verdict), failed_domains(verdict)) if verdict else ([], [])
    return subject_bars(comparison, failed, domains, result.families)


def _kind_alone(verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a run was compared with, of an older report that has only its kind."""
    return {"kind": verdict["reference"] if verdict else None}


def _evidence(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "text": str(Evidence(**one))}


def _numbers(result: Result, comparison: Comparison | None) -> list[tuple[str, str]]:
    overall, verdict = result.overall, result.verdict
    to_put, answered, _ = answered_of(result)
    failed = verdict is not None and verdict["kind"] == "ERROR"
    numbers = [] if failed else [("accuracy", percent(overall.accuracy))]
    if answered < to_put:
        numbers.insert(0, ("answered", f"{answered:,} of {to_put:,} questions"))
    if comparison is not None and comparison.overall is not None and not failed:
        pair = comparison.overall
        numbers.append(("reference", percent(pair.reference_accuracy)))
        numbers.append(("lost / gained", f"{pair.losses:,} / {pair.gains:,} of {pair.n:,}"))
    if verdict and verdict["smallest_visible_drop"] is not None:
        seen = f"{100 * verdict['smallest_visible_drop']:.1f} points"
        numbers.append(("smallest drop that would show", seen))
    if verdict and verdict["budget"]:
        numbers.append(("chance of a false alarm", f"{100 * verdict['budget']['total']:.3g} %"))
    numbers.append(("unparsed / errors", f"{overall.unparsed:,} / {overall.errors:,}"))
    numbers.append(("asked now", f"{overall.asked:,} of {overall.questions:,}"))
    if result.endpoints:
        numbers.append(("answered by", answered_by(result.endpoints)))
    numbers.append(("time of asking", f"{overall.seconds:,.1f} s"))
    numbers.append(
        ("tokens in / out", f"{overall.prompt_tokens:,} / {overall.completion_tokens:,}")
    )
    if overall.cost is not None:
        numbers.append(("cost", f"${overall.cost:,.4f}"))
    return numbers


def _scores(result: Result, comparison: Comparison | None) -> list[list[Row]]:
    subjects = comparison.subjects if comparison else {}
    domains = comparison.domains if comparison else {}
    everything = comparison.overall if comparison else None
    kind = result.verdict["kind"] if result.verdict else ""
    overall = everything.reference_accuracy if everything else None
    groups = [[Row("all", result.overall, overall, kind, True)]]
    for domain, within in result.families.items():
        rows = []
        if whole := result.domains.get(domain):
            pair = domains.get(domain)
            head = pair.reference_accuracy if pair else None
            rows.append(Row(domain, whole, head, whole.word or "", True))
        for subject in within:
            one, pair = result.subject_details[subject], subjects.get(subject)
            theirs = pair.reference_accuracy if pair else None
            rows.append(Row(subject, one, theirs, one.word or "", False))
        groups.append(rows)
    return groups


def _parts(comparison: Comparison | None) -> dict[str, Any] | None:
    """The drop's two shares in percent of it; None where they are not both a part of it."""
    split = comparison.split if comparison else None
    if split is None or not split.drop or split.format is None or split.knowledge is None:
        return None
    if split.status != "asked" or min(split.drop, split.format, split.knowledge) < 0:
        return None
    return {
        "format": round(100 * split.format / split.drop, 2),
        "format_points": points(split.format),
        "knowledge_points": points(split.knowledge),
    }


def _unparsed(verdict: Mapping[str, Any] | None) -> str:
    found = verdict["unparsed"] if verdict else None
    if not found:
        return ""
    if found["reference_rate"] is None:
        return f"{found['candidate_rate']:.2%}"
    return f"{found['candidate_rate']:.2%}, the reference's {found['reference_rate']:.2%}"


def _facts(result: Result) -> list[tuple[str, str]]:
    facts = [
        ("fingerprint", result.fingerprint),
        ("prompt", result.prompt_hash),
        ("task", result.task),
    ]
    facts += [(f"data set: {key}", _plain(value)) for key, value in result.dataset.items()]
    facts += [(key, _plain(value)) for key, value in result.identity.items()]
    facts += [(f"version: {key}", value) for key, value in result.versions.items()]
    return facts


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def percent(share: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"
