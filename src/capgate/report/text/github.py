"""A run's story for GitHub: step summary, annotations, and a comment that is kept up to date.

Text of a model or a server reaches GitHub in two forms only: inside a code span, where
Markdown makes neither mentions nor links nor references of it, and escaped inside an
annotation, where it can't end the command that it stands in.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from capgate.benchmarks.recorded import known_parents, nouns_of
from capgate.common.text import one_line
from capgate.report.data.comparison import MEANINGS, Comparison, Flip, Label, Side
from capgate.report.data.groups import counted
from capgate.report.data.missing import Missing, missing_of, notes_of
from capgate.report.data.nouns import name_words, part_name
from capgate.report.data.result import Report, Result, Section, answered_of
from capgate.report.data.standings import has_several, standings, targets_of
from capgate.report.text.advice import (
    failed_domains,
    failed_subjects,
    headline,
    next_steps,
    points,
    reference_name,
    rest_sentence,
    split_sentence,
    subjects_to_read,
)
from capgate.report.text.missing_lines import shown
from capgate.report.text.over_all import COLUMNS, UNJUDGED, cells, suite_headline, suite_steps
from capgate.report.text.shown_commands import look_command, repeat_command

MARKER: Final = "<!-- capgate-report"
"""How the comment begins, so that the same one is found and replaced at the next push."""

_COMMENT_LIMIT: Final = 60_000
"""Characters; GitHub refuses a comment of more than 65,536."""

_SIGNS: Final = {"PASS": "✅", "REGRESSION": "❌", "INCONCLUSIVE": "⚠️", "ERROR": "⛔"}
_ANNOTATIONS: Final = 10
"""Of each level GitHub shows this many for a step and drops the rest."""

_PROSE: Final = re.compile(r"[\w .,;:!?%()+\-–—=“”≤≥^~'’→/…]+")
_ALIVE: Final = re.compile(
    r"://|www\.|GH-\d|(?<![0-9a-z])(?=[a-f]*\d)[0-9a-f]{7,40}(?![0-9a-z])"
    r"|^\s*(?:\d+[.)]|[-+=])\s",
    re.IGNORECASE,
)
"""What GitHub could make a link, a reference or a list of, after any letter.

GitHub does not document for every alphabet where it sees a word begin. A sentence that is shown as
code without need loses nothing."""

_FLIPS: Final = 10
_CLIPPED: Final = 120
_FAULT: Final = 1_000
_COMMAND: Final = 1_000


def span(text: str, *, limit: int = _CLIPPED) -> str:
    """Foreign text as a Markdown code span on one line, fit for a table's cell as well."""
    line = one_line(text, limit=limit).replace("|", "¦")
    if not line.strip():
        return "*(empty)*"
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{room}{line}{room}{fence}"


def prose(text: str, *, limit: int = 600) -> str:
    """A sentence of ours as Markdown; a code span where anything in it could come alive."""
    line = one_line(text, limit=limit).replace("<=", "≤").replace(">=", "≥")
    if not _PROSE.fullmatch(line) or _ALIVE.search(line):
        return span(line, limit=limit)
    return re.sub(r"([_~])", r"\\\1", line)


def data(text: str, *, limit: int = 1_000) -> str:
    """Foreign text as the message of a workflow command: it stays one line of one command."""
    line = one_line(text, limit=limit)
    return line.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace("##[", "#[")


def property_value(text: str, *, limit: int = 200) -> str:
    """Foreign text as a property of a workflow command."""
    return data(text, limit=limit).replace(":", "%3A").replace(",", "%2C")


def workflow_commands(report: Report) -> list[str]:
    """A workflow command for each lost subject and domain and each verdict that is not PASS."""
    found: list[tuple[str, str, str]] = []
    for target, suite in report.suites.items() if has_several(report) else ():
        if suite["kind"] != "PASS":
            said = suite_headline(target, suite, standings(report, target))
            text = " ".join([said + ".", *suite["reasons"][:1]])
            found.append((_level(suite), f"capgate {suite['kind']}: {target}", text))
    for benchmark, section in report.sections.items():
        advisory = {target for target, one in section.targets.items() if one.advisory}
        found += [
            ("warning" if target in advisory else level, title, text)
            for target, level, title, text in _annotations(report, benchmark, section)
        ]
    return [
        line
        for wanted in ("error", "warning")
        for line in [workflow_command(*one) for one in found if one[0] == wanted][:_ANNOTATIONS]
    ]


def _level(verdict: Mapping[str, Any]) -> str:
    return "error" if verdict["fails"] and verdict["kind"] != "INCONCLUSIVE" else "warning"


def _annotations(
    report: Report, benchmark: str, section: Section
) -> Iterator[tuple[str, str, str, str]]:
    """Yields target, level, title and text of what is to be said of one benchmark."""
    nouns = nouns_of(benchmark)
    for target, verdict in section.verdicts.items():
        named, kind = part_name(report, benchmark, target), verdict["kind"]
        if kind == "PASS":
            continue
        text = " ".join([headline(named, verdict, nouns=nouns) + ".", *verdict["reasons"][:1]])
        yield target, _level(verdict), f"capgate {kind}: {named}", text
        for _, name, one in _lost(verdict, benchmark):
            counts = (
                f"{one['losses']} lost, {one['gains']} gained of {one['n']}"
                if one["losses"] is not None
                else f"{one['n']} questions"
            )
            drop = points(one["drop"])
            text = f"{named} lost {drop} in {name}: {counts}, p = {one['p']:.2g}"
            yield target, "error", f"capgate: {name}", text
    for target, result in section.targets.items():
        if result.verdict is None:
            named = part_name(report, benchmark, target)
            for subject, group in result.subject_details.items():
                if group.word == "lost" and group.verdict:
                    for text in group.verdict["reasons"][:1]:
                        title = f"capgate: {name_words(subject)} lost"
                        yield target, "error", title, f"{named}: {text}"


def summary(report: Report) -> str:
    """The run's story in Markdown."""
    blocks: list[str] = []
    triage = look_command(report, "triage", report.run)
    if has_several(report):
        blocks += [_over_all(report, target) for target in targets_of(report)]
    for benchmark, section in report.sections.items():
        blocks += [_target(report, benchmark, target, triage) for target in section.judged]
        blocks += [
            "\n\n".join(_head(part_name(report, benchmark, target), section.verdicts.get(target)))
            for target in section.not_judged
            if target not in section.targets
        ]
    if not report.complete:
        blocks.append(f"**Partial:** {prose(rest_sentence(report))}")
    return "\n\n".join(blocks) + f"\n\n<sub>run {span(report.run)}</sub>\n"


def comment(report: Report) -> str:
    """The body of a pull request's comment, which begins with a hidden marker.

    The marker tells apart the targets judged, so that two jobs of one workflow keep a
    comment each.
    """
    sections = report.sections.items()
    known = {part_name(report, name, target) for name, one in sections for target in one.known}
    names = "\n".join(sorted(known))
    mark = hashlib.sha256(names.encode()).hexdigest()[:8]
    text = f"{MARKER} {mark} -->\n{summary(report)}"
    if len(text) <= _COMMENT_LIMIT:
        return text
    return text[:_COMMENT_LIMIT].rsplit("\n", 1)[0] + "\n\n(cut: too long for a comment)\n"


def write_summary(report: Report, environment: Mapping[str, str] | None = None) -> Path | None:
    """Adds the story to the job's summary, where there is one.

    Raises:
        OSError: It can't be written.
    """
    named = (os.environ if environment is None else environment).get("GITHUB_STEP_SUMMARY", "")
    if not named:
        return None
    path = Path(named)
    with path.open("a", encoding="utf-8") as file:
        file.write(summary(report) + "\n")
    return path


def write_outputs(
    report: Report, folder: Path, environment: Mapping[str, str] | None = None
) -> Path | None:
    """Adds a step's outputs where GITHUB_OUTPUT names their file: verdict, and report's folder.

    Raises:
        OSError: It can't be written.
    """
    named = (os.environ if environment is None else environment).get("GITHUB_OUTPUT", "")
    if not named:
        return None
    verdict = report.verdict["kind"] if report.verdict else "measured"
    path = Path(named)
    with path.open("a", encoding="utf-8") as file:
        for name, value in (("verdict", verdict), ("report", str(folder.absolute()))):
            # A value may have lines; none of them ends it but this one.
            end = secrets.token_hex(16)
            file.write(f"{name}<<{end}\n{value}\n{end}\n")
    return path


def workflow_command(level: str, title: str, text: str) -> str:
    """A line by which GitHub's runner shows an annotation; `level` is `error` or `warning`."""
    return f"::{level} title={property_value(title)}::{data(text)}"


def _over_all(report: Report, target: str) -> str:
    """The verdict over all benchmarks in Markdown, and a row for each."""
    suite, standing = report.suites.get(target), standings(report, target)
    blocks = _head(target, suite) if suite else [f"### 📏 {UNJUDGED}: {span(target)}"]
    blocks.insert(1, f"{prose(suite_headline(target, suite, standing))}.")
    rows = [f"| {' | '.join(COLUMNS)} |", "|---|--:|--:|--:|--:|--:|--:|---|"]
    for one in standing:
        name, *figures, word = cells(one)
        word = word if one.advisory else f"**{word}**"
        rows.append(f"| {span(name)} | {' | '.join(figures)} | {word} |")
    blocks.append("\n".join(rows))
    steps = suite_steps(suite, standing)
    blocks += ["\n".join(f"- {prose(step)}" for step in steps)] if steps else []
    return "\n\n".join(blocks)


def _head(target: str, verdict: Mapping[str, Any] | None) -> list[str]:
    if not verdict:
        return [f"### 📏 measured: {span(target)}"]
    kind = verdict["kind"]
    return [
        f"### {_SIGNS[kind]} {kind}: {span(target)}",
        "\n".join(f"- {prose(reason)}" for reason in verdict["reasons"]),
    ]


def _target(report: Report, benchmark: str, target: str, triage: str) -> str:
    section = report.sections[benchmark]
    result, comparison = section.targets[target], section.comparisons.get(target)
    verdict, named = result.verdict, part_name(report, benchmark, target)
    blocks = [*_head(named, verdict)]
    if verdict:
        blocks.insert(
            1,
            f"{prose(headline(named, verdict, nouns=nouns_of(benchmark)))}. Compared with "
            f"{prose(reference_name(result.reference))}.",
        )
    blocks += map(_missing, missing_of(section, target))
    if notes := [f"- {span(name)}: {prose(note)}" for name, note in notes_of(section, target)]:
        blocks.append("\n".join(notes))
    if verdict and verdict["kind"] == "ERROR":
        to_put, answered, _ = answered_of(result)
        told = [f"- {prose(step)}" for step in next_steps(verdict, comparison, result)]
        told.append(f"- {answered:,} of {to_put:,} questions were answered.")
        told.append(f"- {span(repeat_command(report), limit=_COMMAND)}")
        return "\n\n".join([*blocks, "**What to do next**\n\n" + "\n".join(told)])
    if verdict and verdict["kind"] in {"REGRESSION", "INCONCLUSIVE"}:
        steps = next_steps(verdict, comparison, result)
        blocks.append("**What to do next**\n\n" + "\n".join(f"- {prose(s)}" for s in steps))
    blocks.append("\n".join(_domains(result, comparison)))
    if groups := counted(result):
        blocks.append(prose(groups))
    failed = subjects_to_read(verdict, result.parent_of) if verdict else frozenset()
    if failed and verdict:
        blocks.append("\n".join(_failed(verdict, benchmark)))
    if comparison is not None and comparison.labels:
        blocks.append("\n".join(_labels(comparison)))
        if sentence := split_sentence(comparison.split):
            blocks.append(prose(sentence))
        lost = [flip for flip in comparison.losses if not failed or flip.subject in failed]
        if lost:
            total = len(comparison.losses)
            blocks.append("\n".join(_flips(lost, total, triage, nouns_of(benchmark).group)))
    return "\n\n".join(blocks)


def _missing(one: Missing) -> str:
    """Why a target's questions have no answer, in Markdown."""
    head = f"**No answer** to {one.errors:,} of {one.questions:,} questions by {span(one.target)}:"
    lines = [f"- {fault.times:,} × {span(shown(fault), limit=_FAULT)}" for fault in one.faults]
    more = [f"- and {one.more} further faults (report.json lists them)"] if one.more else []
    return "\n".join([head, "", *lines, *more])


def _domains(result: Result, comparison: Comparison | None) -> Iterator[str]:
    paired = comparison.domains if comparison else {}
    yield "| | questions | accuracy | reference | lost | gained | unparsed | errors | verdict |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|---|"
    kind = result.verdict["kind"] if result.verdict else ""
    for name, one in [*result.domains.items(), (None, result.overall)]:
        pair = comparison.overall if comparison and name is None else paired.get(name or "")
        theirs = _percent(pair.reference_accuracy) if pair else "–"
        lost, gained = (str(pair.losses), str(pair.gains)) if pair else ("–", "–")
        shown = "**all**" if name is None else _as_cell(name, result)
        yield (
            f"| {shown} | {one.questions:,} | {_percent(one.accuracy)} | {theirs} | "
            f"{lost} | {gained} | {one.unparsed} | {one.errors} | "
            f"{kind if name is None else one.word or ''} |"
        )


def _as_cell(name: str, result: Result) -> str:
    """A parent's name: MMLU's domains are words of ours, those of others may be anything."""
    words = name_words(name)
    return words if name in known_parents(result.benchmark).values() else span(words)


def _lost(
    verdict: Mapping[str, Any], benchmark: str
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yields kind, name in words and finding of each domain and subject that a verdict names."""
    nouns = nouns_of(benchmark)
    for what, names, key, noun in (
        ("domain", failed_domains(verdict), "domains", nouns.parent),
        ("subject", failed_subjects(verdict), "subjects", nouns.group),
    ):
        found = {one[what]: one for one in verdict[key]}
        for name in names:
            yield noun, name_words(name), found[name]


def _failed(verdict: Mapping[str, Any], benchmark: str) -> Iterator[str]:
    yield "| lost | | questions | lost | gained | drop | p |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for what, name, one in _lost(verdict, benchmark):
        lost = "–" if one["losses"] is None else one["losses"]
        gained = "–" if one["gains"] is None else one["gains"]
        yield (
            f"| {span(name)} | {what} | {one['n']} | {lost} | {gained} | "
            f"{points(one['drop'])} | {one['p']:.2g} |"
        )


def _labels(comparison: Comparison) -> Iterator[str]:
    yield "| why | lost questions | |"
    yield "|---|--:|---|"
    for label, times in comparison.labels.items():
        meaning = MEANINGS[_as_label(label)]
        yield f"| {label} | {times} | {meaning} |"


def _as_label(name: str) -> Label:
    return next(label for label in MEANINGS if label == name)


def _flips(lost: list[Flip], total: int, triage: str, group: str) -> Iterator[str]:
    shown = lost[:_FLIPS]
    yield f"<details><summary>{len(shown)} of {total} lost questions</summary>\n"
    yield f"| {group} | question | key | reference | candidate | why |"
    yield "|---|---|---|---|---|---|"
    for flip in shown:
        yield (
            f"| {span(name_words(flip.subject))} | {span(flip.question[:12])} | "
            f"{span(flip.key)} | {_side(flip.reference)} | {_side(flip.candidate)} | {flip.label} |"
        )
    yield f"\n{span(triage)} lists all.\n"
    yield "</details>"


def _side(side: Side) -> str:
    return span(side.choice or f"{side.state}: {side.text or ''}")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
