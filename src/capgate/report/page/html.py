"""The HTML report: one file that opens offline, asks for nothing, and stays under 2 MB.

Everything but the flipped questions is plain HTML and SVG. Those are packed into the page
and shown by its one script, which the page's content security policy names by its hash: no
other script, style, image or request is allowed, so a model's text can't bring one in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from capgate.benchmarks.recorded import nouns_of
from capgate.report.data.comparison import LABELS, MEANINGS
from capgate.report.data.history import Entry
from capgate.report.data.nouns import is_mmlu_alone, name_words, part_name
from capgate.report.data.result import Report
from capgate.report.data.standings import has_several, standings, targets_of
from capgate.report.page.environment import csp_hash, page_environment, template_text
from capgate.report.page.payload import pack, tried_labels
from capgate.report.page.view import SIGNS, View, suite_view, view_of
from capgate.report.text.advice import headline, rest_sentence
from capgate.report.text.over_all import COLUMNS, suite_headline
from capgate.report.text.shown_commands import logs_command, look_command, repeat_command

LIMIT: Final = 2_000_000
"""Bytes that a report may have."""

_TONES: Final = {"lost": "regression", "kept": "pass", "too few to tell": "inconclusive"}
"""Class in the style sheet of a run in which only subjects were judged."""

_WEIGHT: Final = ("REGRESSION", "ERROR", "INCONCLUSIVE", "PASS", "MEASURED")


def render_html(report: Report, history: Sequence[Entry] = (), *, limit: int = LIMIT) -> str:
    """A run's report as one HTML page.

    Args:
        report: The report, already redacted.
        history: Runs of its targets, oldest first, this one among them.
        limit: Bytes that the page may have; long texts are cut, then left out, to keep to it.
    """
    sections = report.sections
    many = has_several(report)
    parts = [(name, target) for name, section in sections.items() for target in section.targets]
    views = [view_of(at, *part, report, history) for at, part in enumerate(parts, start=1)]
    order = list(sections)
    views.sort(key=lambda view: (order.index(view.benchmark), _WEIGHT.index(view.kind)))
    # A base that is only compared with is shown beside those that are.
    shown = [view for view in views if view.target in sections[view.benchmark].judged]
    suites = [
        suite_view(at, target, report, shown)
        for at, target in enumerate(targets_of(report) if many else (), start=1)
    ]
    environment = page_environment()
    style = template_text("style.css") + (template_text("suite.css") if many else "")
    alone = is_mmlu_alone(report)
    script = environment.get_template("script.js.j2").render(mmlu_alone=alone) + "\n"
    kind = report.verdict["kind"] if report.verdict else "MEASURED"
    has_flips = any(one.flips for part in sections.values() for one in part.comparisons.values())

    def page(payload: str, left_out: int) -> str:
        return environment.get_template("report.html.j2").render(
            report=report,
            rest=rest_sentence(report),
            many=many,
            suites=suites,
            columns=COLUMNS,
            views=shown,
            everyone=views,
            not_judged={
                part_name(report, benchmark, target): verdict
                for benchmark, section in sections.items()
                for target, verdict in section.not_judged.items()
            },
            nouns=nouns_of(report.benchmark),
            kind=kind,
            tone=_TONES.get(kind, kind.lower()),
            sign=SIGNS[kind],
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
            style_hash=csp_hash(style),
            script=Markup(script),
            script_hash=csp_hash(script),
        )

    if not has_flips:
        return page("", 0)
    room = limit - len(page("", 0).encode()) - 64
    return page(*pack(report, max(room, 0)))


def _title(report: Report, views: Sequence[View]) -> str:
    """The page's headline: what the run's verdict says."""
    if report.suites and has_several(report):
        # Of equals the first, which is the one that the run ends by.
        target = report.verdict_of if report.verdict_of in report.suites else None
        target = target or next(iter(report.suites))
        said = suite_headline(target, report.suites[target], standings(report, target))
        others = len(targets_of(report)) - 1
        return f"{said}; {others} more below" if others else said
    if not views:
        return "Nothing could be judged"
    worst = min(views, key=lambda view: _WEIGHT.index(view.kind))
    verdict, nouns = report.verdict, nouns_of(worst.benchmark)
    if verdict and verdict["scope"] == "subject":
        named = f"{report.verdict_of}, {name_words(str(verdict['subject']))},"
        return headline(named, verdict, nouns=nouns)
    first = headline(worst.name, worst.verdict, nouns=nouns)
    failed = [
        (part_name(report, benchmark, target), verdict)
        for benchmark, section in report.sections.items()
        for target, verdict in section.not_judged.items()
    ]
    if failed and worst.kind != "REGRESSION":
        first = headline(*failed[0])
    others = len(views) + len(failed) - 1
    return f"{first}; {others} more below" if others > 0 else first


__all__ = ["LABELS", "LIMIT", "render_html"]
