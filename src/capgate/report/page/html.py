"""The HTML report: one file that opens offline, asks for nothing, and stays under 2 MB.

Everything but the flipped questions is plain HTML and SVG. Those are packed into the page
and shown by its one script, which the page's content security policy names by its hash: no
other script, style, image or request is allowed, so a model's text can't bring one in.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from capgate.common.text import printable
from capgate.gate.verdict import Evidence
from capgate.report.data.comparison import LABELS, MEANINGS, Comparison, Shift
from capgate.report.data.history import Entry, by_series
from capgate.report.data.missing import Missing, missing_of, notes_of
from capgate.report.data.result import Group, Report, Result, answered_of
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
from capgate.report.page.payload import pack, tried_labels
from capgate.report.text.advice import (
    failed_domains,
    failed_subjects,
    headline,
    next_steps,
    points,
    reference_name,
    rest_sentence,
    split_sentence,
    subject_words,
)
from capgate.report.text.published_lines import published_lines
from capgate.report.text.shown_commands import logs_command, look_command, repeat_command

LIMIT: Final = 2_000_000
"""Bytes that a report may have."""

_SIGNS: Final = {
    "PASS": "✓",
    "REGRESSION": "✕",
    "INCONCLUSIVE": "?",
    "ERROR": "!",
    "MEASURED": "·",
    "lost": "✕",
    "kept": "✓",
    "too few to tell": "?",
}
_TONES: Final = {"lost": "regression", "kept": "pass", "too few to tell": "inconclusive"}
"""Class in the style sheet of a run in which only subjects were judged."""

_WEIGHT: Final = ("REGRESSION", "ERROR", "INCONCLUSIVE", "PASS", "MEASURED")


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
    """What the template shows of one target."""

    target: str
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


def render_html(report: Report, history: Sequence[Entry] = (), *, limit: int = LIMIT) -> str:
    """A run's report as one HTML page.

    Args:
        report: The report, already redacted.
        history: Runs of its targets, oldest first, this one among them.
        limit: Bytes that the page may have; long texts are cut, then left out, to keep to it.
    """
    views = [
        _view(number, target, result, report, history)
        for number, (target, result) in enumerate(report.targets.items(), start=1)
    ]
    views.sort(key=lambda view: _WEIGHT.index(view.kind))
    # A base that is only compared with is shown beside those that are.
    bases = {str(one.reference.get("target")) for one in report.comparisons.values()}
    shown = [view for view in views if view.verdict or view.target not in bases]
    environment = _environment()
    style, script = _part("style.css"), _part("script.js")
    kind = report.verdict["kind"] if report.verdict else "MEASURED"
    has_flips = any(comparison.flips for comparison in report.comparisons.values())

    def page(payload: str, left_out: int) -> str:
        return environment.get_template("report.html.j2").render(
            report=report,
            rest=rest_sentence(report),
            views=shown,
            everyone=views,
            not_judged=report.not_judged,
            kind=kind,
            tone=_TONES.get(kind, kind.lower()),
            sign=_SIGNS[kind],
            title=_title(report, shown),
            flips=has_flips,
            payload=Markup(payload),
            left_out=left_out,
            meanings={label: MEANINGS[label] for label in tried_labels(report)},
            command=repeat_command(report),
            look={
                "triage": look_command(report, "triage", report.run),
                "show": look_command(report, "show", report.run, "QUESTION"),
                "logs": logs_command(report),
            },
            style=Markup(style),
            style_hash=_csp_hash(style),
            script=Markup(script),
            script_hash=_csp_hash(script),
        )

    if not has_flips:
        return page("", 0)
    room = limit - len(page("", 0).encode()) - 64
    return page(*pack(report, max(room, 0)))


def _title(report: Report, views: Sequence[View]) -> str:
    if not views:
        return "Nothing could be judged"
    if report.verdict and report.verdict["scope"] == "subject":
        return headline(f"{report.verdict_of}, {report.verdict['subject']},", report.verdict)
    first = headline(views[0].target, views[0].verdict)
    if report.not_judged and views[0].kind != "REGRESSION":
        first = headline(*next(iter(report.not_judged.items())))
    others = len(views) + len(report.not_judged) - 1
    return f"{first}; {others} more below" if others > 0 else first


def _view(
    number: int, target: str, result: Result, report: Report, history: Sequence[Entry]
) -> View:
    verdict = result.verdict
    comparison = report.comparisons.get(target)
    kind = verdict["kind"] if verdict else "MEASURED"
    mine = [entry for entry in history if entry.target == target]
    trend = trend_chart(mine, report.run)
    groups = by_series([entry for entry in mine if entry.accuracy is not None])
    if verdict:
        verdict = {**verdict, "evidence": [_evidence(one) for one in verdict["evidence"]]}
    return View(
        target=target,
        anchor=f"target-{number}",
        kind=kind,
        sign=_SIGNS[kind],
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
        published=published_lines(report, target),
        unparsed=_unparsed(verdict),
        trend=trend,
        entries={
            line.name: list(reversed(entries))
            for line, entries in zip(trend.lines if trend else (), groups.values(), strict=False)
        },
        runs=sum(len(line.marks) for line in trend.lines) if trend else 0,
        notes=[f"{name}: {note}" for name, note in notes_of(report, target)],
        missing=[one for one in missing_of(report, target) if one.target != target],
        facts=_facts(result),
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
    numbers = [] if failed else [("accuracy", _percent(overall.accuracy))]
    if answered < to_put:
        numbers.insert(0, ("answered", f"{answered:,} of {to_put:,} questions"))
    if comparison is not None and comparison.overall is not None and not failed:
        pair = comparison.overall
        numbers.append(("reference", _percent(pair.reference_accuracy)))
        numbers.append(("lost / gained", f"{pair.losses:,} / {pair.gains:,} of {pair.n:,}"))
    if verdict and verdict["smallest_visible_drop"] is not None:
        seen = f"{100 * verdict['smallest_visible_drop']:.1f} points"
        numbers.append(("smallest drop that would show", seen))
    if verdict and verdict["budget"]:
        numbers.append(("chance of a false alarm", f"{100 * verdict['budget']['total']:.3g} %"))
    numbers.append(("unparsed / errors", f"{overall.unparsed:,} / {overall.errors:,}"))
    numbers.append(("asked now", f"{overall.asked:,} of {overall.questions:,}"))
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


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _words(names: str) -> str:
    return " ".join(subject_words(name) for name in names.split(" "))


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    return (files("capgate.report.page") / "templates" / name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    """Neutralises control characters in every text that a template shows."""
    return printable(value) if type(value) is str else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("capgate.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["percent"] = _percent
    environment.filters["words"] = _words
    environment.filters["count"] = lambda n, what: f"{n:,} {what}{'' if n == 1 else 's'}"
    environment.filters["points"] = lambda share: f"{100 * share:+.1f}" if share else "0"
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:].rstrip(".") + "."
    return environment


__all__ = ["LABELS", "LIMIT", "render_html"]
