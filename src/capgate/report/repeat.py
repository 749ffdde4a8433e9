"""The command that repeats a run, from what its report says of its settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from capgate.report.result import Report
from capgate.settings import OPTIONS
from capgate.subjects import SUBJECTS

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
    # A run in which nobody could be asked did not record what it was to be.
    modes = {result.mode for result in report.targets.values()} or {"quick"}
    words = ["pytest", "benchmarks", "-m", " or ".join(sorted(modes))]
    settings = dict(report.settings)
    if not settings.get("model_ids"):
        settings["model_ids"] = sorted(result.model_id for result in report.targets.values())
    for option in OPTIONS:
        if option.flag not in _LEFT_OUT:
            words += _words(option.flag, option.keywords, settings)
    return shlex.join(words)


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
