"""Commands that a report shows: the one that repeats its run, and those that look into it."""

from __future__ import annotations

from capgate.config.shown_command import file_options, files_of, joined, run_command
from capgate.report.data.result import Report


def repeat_command(report: Report) -> str:
    """`pytest benchmarks …`, with all options that are not their default."""
    # An older run in which no target could be asked did not record what it was to be.
    results = [one for part in report.sections.values() for one in part.targets.values()]
    modes = {result.mode for result in results} or {report.mode or "quick"}
    return run_command(report.settings, modes, {result.model_id for result in results})


def look_command(report: Report, *words: str) -> str:
    """`capgate WORDS`, with the options that say where the run's files are."""
    return joined(["capgate", *words, *file_options(report.settings)])


def logs_command(report: Report) -> str:
    """`inspect view`, with the folder of the run's logs."""
    folder = files_of(report.settings).get("output_dir", "reports")
    return joined(["inspect", "view", "--log-dir", f"{folder}/{report.run}/logs"])
