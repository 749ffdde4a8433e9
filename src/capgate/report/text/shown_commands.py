"""Commands that a report shows: the one that repeats its run, and those that look into it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from capgate.benchmarks.mmlu.subjects import SUBJECTS
from capgate.config.settings import FILES, OPTIONS
from capgate.report.data.result import Report

_NAMES: Final = {
    "--model-id": "model_ids",
    "--adapter-name": "adapter_names",
    "--tasks": "task",
}
"""Options whose setting has another name."""

_LEFT_OUT: Final = frozenset({"--domains", "--fresh"})
"""`--domains` stands in the subjects already; `--fresh` is said beside the command."""


def repeat_command(report: Report) -> str:
    """`pytest benchmarks …`, with all options that are not their default."""
    # An older run in which no target could be asked did not record what it was to be.
    modes = {result.mode for result in report.targets.values()} or {report.mode or "quick"}
    return run_command(
        report.settings, modes, {result.model_id for result in report.targets.values()}
    )


def run_command(
    recorded: Mapping[str, Any], modes: AbstractSet[str], models: AbstractSet[str]
) -> str:
    """`pytest benchmarks …`, with all options that are not their default.

    Args:
        recorded: The settings of a run.
        modes: `full`, `quick` or both.
        models: Base models, for a run that named none and took the default.
    """
    words = ["pytest", "benchmarks", "-m", " or ".join(sorted(modes))]
    settings = {**recorded, **_files(recorded)}
    if not settings.get("model_ids"):
        settings["model_ids"] = sorted(models)
    for option in OPTIONS:
        if option.flag not in _LEFT_OUT:
            words += _words(option.flag, option.keywords, settings)
    return _joined(words)


def look_command(report: Report, *words: str) -> str:
    """`capgate WORDS`, with the options that say where the run's files are."""
    files = files_of(report)
    options = [option for option in OPTIONS if option.flag in FILES]
    return _joined(
        ["capgate", *words, *(w for one in options for w in _words(one.flag, one.keywords, files))]
    )


def logs_command(report: Report) -> str:
    """`inspect view`, with the folder of the run's logs."""
    folder = files_of(report).get("output_dir", "reports")
    return _joined(["inspect", "view", "--log-dir", f"{folder}/{report.run}/logs"])


def files_of(report: Report) -> dict[str, Any]:
    """A run's files and folders that are not the usual ones, by the name of their setting."""
    return _files(report.settings)


def _files(settings: Mapping[str, Any]) -> dict[str, Any]:
    found = settings.get("files")
    return dict(found) if isinstance(found, dict) else {}


def _joined(words: Sequence[str]) -> str:
    # A quoted `~` is no home folder.
    return " ".join(
        f"~/{shlex.quote(word[2:])}" if word[:2] == "~/" and word[2:] else shlex.quote(word)
        for word in words
    )


def _words(flag: str, keywords: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    value = settings.get(_NAMES.get(flag, flag.removeprefix("--").replace("-", "_")))
    if value is None or value is False or value == keywords.get("default"):
        return []
    if value is True:
        return [flag]
    if not isinstance(value, list | tuple):
        return [flag, str(value)]
    if keywords.get("action") == "append":
        return [word for one in value for word in (flag, str(one))]
    if not value or (flag == "--subjects" and set(value) == set(SUBJECTS)):
        return []
    return [flag, ",".join(map(str, value))]
