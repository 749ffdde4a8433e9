"""What was lost, where, how sure that is, and what to do next, as lines for the terminal."""

from __future__ import annotations

from capgate.benchmarks.recorded import nouns_of
from capgate.common.nouns import Nouns
from capgate.common.text import printable
from capgate.report.data.comparison import Comparison
from capgate.report.data.nouns import name_words
from capgate.report.data.result import Report, Result
from capgate.report.text.advice import (
    failed_domains,
    failed_subjects,
    next_steps,
    points,
    reference_name,
    split_sentence,
)
from capgate.report.text.shown_commands import look_command, repeat_command

_SUBJECTS = 4
_STEPS = 3


def story_lines(result: Result, comparison: Comparison | None, report: Report) -> list[str]:
    """The lines that follow a target's verdict: at most 16 for a red one, for others hardly any."""
    verdict = result.verdict
    if not verdict:
        return []
    lines = [f"vs:    {reference_name(result.reference)}"]
    published = result.reference is not None and result.reference["kind"] == "published"
    if published:
        lines.append(
            "       measured by another harness, so nothing is compared question by question"
        )
    if verdict["kind"] == "ERROR":
        steps = next_steps(verdict, comparison, result)
        return [f"next:  {step}" for step in steps] + [f"again: {repeat_command(report)}"]
    if verdict["kind"] != "REGRESSION":
        return [printable(line) for line in lines] if published else []
    if comparison is not None and comparison.overall is not None:
        if result.has_groups:
            lines += _where(
                comparison,
                failed_domains(verdict),
                failed_subjects(verdict),
                nouns_of(result.benchmark),
            )
        if comparison.labels:
            counts = ", ".join(f"{label} {n}" for label, n in comparison.labels.items())
            lines.append(f"why:   {counts}")
        if sentence := split_sentence(comparison.split):
            lines.append(f"       {sentence}")
    steps = next_steps(verdict, comparison, result)[:_STEPS]
    lines += [f"{'next:  ' if at == 0 else '       '}{step}" for at, step in enumerate(steps)]
    if comparison is not None and comparison.flips:
        lines.append(f"flips: {look_command(report, 'triage', report.run)}")
        lines.append(f"one:   {look_command(report, 'show', report.run, 'QUESTION')}")
    return [printable(line) for line in lines]


def _where(
    comparison: Comparison, domains: list[str], failed: list[str], nouns: Nouns
) -> list[str]:
    """Where it was lost: the domains and subjects that the verdict names, else the largest drops.

    Args:
        comparison: With the counts of both.
        domains: The domains that the verdict names.
        failed: The subjects that it names.
        nouns: What they are called.
    """
    subjects = comparison.subjects
    named = failed or [
        subject
        for subject, one in sorted(
            subjects.items(), key=lambda entry: entry[1].gains - entry[1].losses
        )
        if one.losses > one.gains
    ]
    found = [
        (f"the {nouns.parent} {name_words(d)}", comparison.domains.get(d), True) for d in domains
    ]
    found += [(name_words(s), subjects.get(s), s in failed) for s in named[:_SUBJECTS]]
    lines = [
        f"{what} {points(one.drop)} ({one.losses} lost, {one.gains} gained of {one.n})"
        f"{': lost' if lost else ''}"
        for what, one, lost in found
        if one is not None and one.drop is not None
    ]
    if len(named) > _SUBJECTS:
        lines.append(f"and {len(named) - _SUBJECTS} more {nouns.group}s")
    return [f"{'where: ' if at == 0 else '       '}{line}" for at, line in enumerate(lines)]
