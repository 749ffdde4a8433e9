"""Commands that a report shows: the one that repeats its run, and those that look into it."""

from __future__ import annotations

from capgate.config.shown_command import file_options, files_of, joined, run_command
from capgate.report.data.result import Report


def repeat_command(report: Report) -> str:
    """`pytest benchmarks …`, with all options that are not their default."""
    # An older run in which no target could be asked did not record what it was to be.
    sections = report.sections.values()
    results = {name: one for part in sections for name, one in part.targets.items()}
    modes = {result.mode for result in results.values()} or {report.mode or "quick"}
    models = {name: (one.model_id, one.adapter_name) for name, one in results.items()}
    return run_command(report.settings, modes, models)


def look_command(report: Report, *words: str) -> str:
    """`capgate WORDS`, with the options that say where the run's files are."""
    return joined(["capgate", *words, *file_options(report.settings)])


def logs_command(report: Report) -> str:
    """`inspect view`, with the folder of the run's logs."""
    folder = files_of(report.settings).get("output_dir", "reports")
    return joined(["inspect", "view", "--log-dir", f"{folder}/{report.run}/logs"])
