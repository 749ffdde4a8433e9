"""A run's story for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from capgate.benchmarks.recorded import nouns_of
from capgate.common.nouns import Nouns
from capgate.common.text import format_dollars, one_line, printable
from capgate.gate.budget import Budget
from capgate.gate.verdict import Verdict
from capgate.report.data.counting import answered_by
from capgate.report.data.groups import counted, word_counts
from capgate.report.data.nouns import part_name
from capgate.report.data.result import Group, Report, Result, answered_of
from capgate.report.data.standings import has_several, standings, targets_of
from capgate.report.text.advice import next_steps, rest_sentence
from capgate.report.text.missing_lines import missing_lines
from capgate.report.text.over_all import COLUMNS, UNJUDGED, budget_line, cells, suite_steps
from capgate.report.text.story import story_lines
from capgate.report.text.table_lines import lines_of
from capgate.run.judgement import Judgement

_REASON: Final = 1_000
"""Characters of a reason that are shown."""

_NAME: Final = 60
"""Characters of a group's name that are shown."""


def render_judgement(judgement: Judgement, *, several: bool = False) -> str:
    """A failed test's message: the verdict and why.

    It includes what a subject cost. For a whole target the run's summary says that: a test in a
    worker knows only its own part.

    Args:
        judgement: The judgement.
        several: Whether the run has several benchmarks, so that the message names this one.
    """
    verdict, shard = judgement.verdict, judgement.shard
    of = f"{judgement.target} {shard.label}"
    if several and shard.benchmark:
        part = "" if shard.kind == "suite" else f" {shard.label}"
        of = f"{judgement.target} on {shard.benchmark}{part}"
    if verdict is None:
        return f"measured: {of}"
    head = f"{verdict.kind}: {of}"
    lines = [head, *(f"  {printable(reason)}" for reason in verdict.reasons)]
    usage = judgement.usage
    if usage is None:
        return "\n".join(lines)
    asked = asked_words(usage.questions, usage.answered, usage.asked)
    if verdict.scope == "subject":
        cost = f", {format_dollars(usage.cost)}" if usage.cost is not None else ""
        tokens = usage.prompt_tokens + usage.completion_tokens
        lines.append(f"  {asked}, {usage.seconds:.1f} s, {tokens:,} tokens{cost}")
    elif verdict.kind == "ERROR":
        lines.append(f"  {asked}")
    return "\n".join(lines)


def asked_words(questions: int, answered: int, asked: int) -> str:
    """How many questions were answered, and how many of the answers are new, as a phrase."""
    if answered < questions:
        return f"{answered:,} of {questions:,} questions answered ({min(asked, answered):,} now)"
    return f"{questions:,} questions ({asked:,} asked now)"


def verdict_lines(verdict: Verdict) -> list[str]:
    """A verdict by itself: its kind, why, and what it could have seen."""
    reasons = [printable(reason) for reason in verdict.reasons]
    lines = [f"{verdict.kind}: {reasons[0]}", *(f"  {reason}" for reason in reasons[1:])]
    return lines + [f"  {line}" for line in _limits(verdict.to_dict(), verdict.nouns)]


def render_report(report: Report, written: Sequence[Path], *, root: Path) -> list[str]:
    """The lines that a run ends with: a table and a verdict for each target, then the files."""
    lines: list[str] = []
    if has_several(report):
        for target in targets_of(report):
            lines += [*_over_all(report, target), ""]
    for benchmark, section in report.sections.items():
        for target, result in section.judged.items():
            named = part_name(report, benchmark, target)
            lines += _table(named, result)
            lines += [f" {groups}"] if (groups := counted(result)) else []
            lines += ["", *_verdict_lines(named, result)]
            lines += [f"  {line}" for line in missing_lines(section, target)]
            if result.endpoints:
                lines.append(printable(f"  answered by {answered_by(result.endpoints)}"))
            story = story_lines(result, section.comparisons.get(target), report)
            lines += [*(f"  {line}" for line in story), ""]
        for target, verdict in section.not_judged.items():
            lines += [f"{verdict['kind']}: {part_name(report, benchmark, target)}"]
            lines += [f"  {printable(reason)}" for reason in verdict["reasons"]]
            lines += [f"  next:  {step}" for step in next_steps(verdict, None)[:1]] + [""]
    if report.cost is not None:
        lines.append(f"cost:    {format_dollars(report.cost)} spent by this run's answers")
    if not report.complete:
        lines.append(printable(f"PARTIAL: {rest_sentence(report)}"))
    return lines + [f"written: {_short(path, root)}" for path in written]


def _over_all(report: Report, target: str) -> list[str]:
    """The verdict over all benchmarks, and a row for each."""
    suite, standing = report.suites.get(target), standings(report, target)
    kind = suite["kind"] if suite else UNJUDGED
    lines = [f"{kind}: {target} over {len(standing)} benchmarks"]
    if suite:
        lines += [f"  {one_line(reason, limit=_REASON)}" for reason in suite["reasons"]]
    table = Table(box=None)
    for at, name in enumerate(COLUMNS):
        left = at in {0, len(COLUMNS) - 1}
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for one in standing:
        table.add_row(*cells(one), style="" if one.advisory else "bold")
    lines += [f" {line}" for line in lines_of(table)]
    lines += [f"  {shares}"] if (shares := budget_line(suite)) else []
    return lines + [f"  next:  {step}" for step in suite_steps(suite, standing)]


def logs_line(logs: Path, root: Path) -> list[str]:
    """The command that shows a run's logs; none where it left none."""
    shown = shlex.quote(_short(logs, root))
    return [f"logs:    inspect view --log-dir {shown}"] if logs.is_dir() else []


def _verdict_lines(target: str, result: Result) -> list[str]:
    verdict = result.verdict
    if verdict is None:
        said = word_counts(one.word for one in result.subject_details.values())
        noun = nouns_of(result.benchmark).group
        what = f"judged by {noun} alone ({said})" if said else "measured, not judged"
        return [f"{what}: {target}", f"  {_usage(result)}"]
    lines = [f"{verdict['kind']}: {target}"]
    lines += [f"  {printable(reason)}" for reason in verdict["reasons"]]
    lines += [f"  {line}" for line in _limits(verdict, nouns_of(result.benchmark))]
    return [*lines, f"  {_usage(result)}"]


def _limits(verdict: dict[str, Any], nouns: Nouns) -> list[str]:
    lines: list[str] = []
    if verdict["smallest_visible_drop"] is not None:
        seen = f"{100 * verdict['smallest_visible_drop']:.1f} points"
        lines.append(f"smallest drop that these questions would usually show: {seen}")
    if verdict["budget"] is not None:
        budget, policy = Budget(**verdict["budget"]), verdict["policy"] or {}
        lines.append(budget.describe(policy.get("miss"), nouns))
    return lines


def _usage(result: Result) -> str:
    overall = result.overall
    cost = "" if overall.cost is None else f", {format_dollars(overall.cost)}"
    if overall.cost_now is not None and overall.asked < overall.questions:
        cost += f" ({format_dollars(overall.cost_now)} now)"
    return (
        f"{asked_words(*answered_of(result))}, {overall.seconds:.1f} s, "
        f"{overall.prompt_tokens + overall.completion_tokens:,} tokens{cost}{old_words(result)}"
    )


def old_words(result: Result) -> str:
    """How many of a target's answers are old, as a clause with its comma; `""` for none."""
    if not result.earlier:
        return ""
    count = "all" if result.earlier == result.overall.questions else f"{result.earlier:,}"
    return f", {count} from earlier runs (newest {result.newest_earlier})"


def _table(target: str, result: Result) -> list[str]:
    old = f"  {old_words(result)[2:]}" if result.earlier else ""
    table = Table(box=None)
    table.add_column(nouns_of(result.benchmark).group, no_wrap=True)
    costs = result.overall.cost is not None
    cut = result.overall.cut_off > 0
    counts = ("unparsed", *(["cut off"] if cut else []), "errors")
    columns = ("n", "accuracy", "95 % interval", *counts, "seconds", "tokens")
    for name in (*columns, *(["cost"] if costs else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for domain, subjects in result.families.items():
        if result.mode == "full":
            for subject in subjects:
                one = result.subject_details[subject]
                table.add_row(*_row(f"  {_plain(subject)}", one, costs=costs, cut=cut))
        if mine := result.domains.get(domain):
            table.add_row(*_row(_plain(domain), mine, costs=costs, cut=cut), style="bold")
    kind = result.verdict["kind"] if result.verdict else ""
    table.add_row(*_row("all", result.overall, costs=costs, cut=cut, kind=kind), style="bold")
    # As a title of the table it would be broken at the table's width.
    return [f"{target}  {result.task}  {result.mode}{old}", *lines_of(table)]


def _plain(name: str) -> str:
    return one_line(name, limit=_NAME)


def _row(name: str, one: Group, *, costs: bool, cut: bool, kind: str = "") -> list[str]:
    accuracy = "–" if one.accuracy is None else f"{one.accuracy:.1%}"
    interval = f"{one.interval.low:.1%} – {one.interval.high:.1%}" if one.interval else "–"
    return [
        name,
        f"{one.questions:,}",
        accuracy,
        interval,
        str(one.unparsed or "·"),
        *([str(one.cut_off or "·")] if cut else []),
        str(one.errors or "·"),
        f"{one.seconds:.1f}",
        f"{one.prompt_tokens + one.completion_tokens:,}",
        *([] if not costs else ["–" if one.cost is None else format_dollars(one.cost)]),
        kind or one.word or "",
    ]


def _short(path: Path, root: Path) -> str:
    try:
        return str(path.relative_to(root))
    except ValueError:
        return str(path)
