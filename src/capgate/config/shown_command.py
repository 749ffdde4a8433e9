"""The command line that a run's settings stand for, as people may type it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from capgate.benchmarks.mmlu.subjects import MMLU, SUBJECTS
from capgate.config.run_options import FILES, OPTIONS
from capgate.config.suite import FOLDER

_NAMES: Final = {
    "--model-id": "model_ids",
    "--adapter-name": "adapter_names",
    "--benchmark": "benchmarks",
    "--tasks": "task",
}
"""Options whose setting has another name."""

_LEFT_OUT: Final = frozenset({"--domains", "--suite", "--fresh"})
"""`--domains` stands in the subjects already, and `--suite` in the benchmarks; `--fresh` is said
beside the command."""


def run_command(
    recorded: Mapping[str, Any],
    modes: AbstractSet[str],
    models: Mapping[str, tuple[str, str | None]],
) -> str:
    """What starts a run again: pytest with all options that are not their default.

    Args:
        recorded: The settings of a run.
        modes: `full`, `quick` or both.
        models: Each target of the run to its base model and, where it is an adapter, the
            adapter's name; for a run that named no target and took the default.
    """
    if recorded.get("sweep"):
        return sweep_command(recorded)
    # A run of the shipped suite: `capgate run` finds it in every project.
    words = ["capgate", "run"] if "suite" in recorded else ["pytest", FOLDER]
    words += ["-m", " or ".join(sorted(modes))]
    settings = {**recorded, **files_of(recorded)}
    if not settings.get("model_ids"):
        settings["model_ids"] = _default_of(recorded, models)
    return joined([*words, *_option_words(settings)])


def sweep_command(recorded: Mapping[str, Any]) -> str:
    """What starts a sweep again: `capgate sweep` with all options that are not their default.

    Args:
        recorded: The settings of the sweep.
    """
    settings = {**recorded, **files_of(recorded), "adapter_names": ()}
    adapters = recorded["adapter_names"]
    return joined(["capgate", "sweep", *_option_words(settings), "--adapters", *adapters])


def calibrate_command(recorded: Mapping[str, Any]) -> str:
    """What calibrates a target again: `capgate calibrate` with all options not their default.

    Args:
        recorded: The settings that it was calibrated with.
    """
    settings = {**recorded, **files_of(recorded)}
    return joined(["capgate", "calibrate", *_option_words(settings)])


def worker_command(recorded: Mapping[str, Any]) -> str:
    """What asks all that a run needs: `capgate worker` with its options.

    Args:
        recorded: The settings of the run.
    """
    settings = {**recorded, **files_of(recorded), "stored": False}
    for name in ("allow_routes", "confirm", "seed"):
        settings.pop(name, None)
    return joined(["capgate", "worker", "--shard", "0/1", *_option_words(settings)])


def _option_words(settings: Mapping[str, Any]) -> list[str]:
    """The options that are not their default."""
    if settings.get("runner") == "direct" and "benchmarks" not in settings:
        # What asks MMLU without the option.
        settings = {name: value for name, value in settings.items() if name != "runner"}
    return [
        word
        for option in OPTIONS
        if option.flag not in _LEFT_OUT
        for word in _words(option.flag, option.keywords, settings)
    ]


def _default_of(
    recorded: Mapping[str, Any], models: Mapping[str, tuple[str, str | None]]
) -> list[str]:
    """The target that a run took by default; the base model where it named an adapter beside it."""
    bases = {model for model, adapter in models.values() if adapter}
    if recorded.get("adapter_names"):
        return sorted(bases)
    return sorted(set(models) - bases)


def file_options(settings: Mapping[str, Any]) -> list[str]:
    """Returns the options that say where a run's files are, if they are not in the usual places."""
    files = files_of(settings)
    options = [option for option in OPTIONS if option.flag in FILES]
    return [word for one in options for word in _words(one.flag, one.keywords, files)]


def files_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a run's files and folders that are not the usual ones, by their setting's name."""
    found = settings.get("files")
    return dict(found) if isinstance(found, dict) else {}


def of_benchmark(benchmark: str) -> str:
    """Returns the option that names a benchmark, to follow a command; `""` for MMLU."""
    return "" if benchmark == MMLU else f" --benchmark {shlex.quote(benchmark)}"


def joined(words: Sequence[str]) -> str:
    """Returns words as one line for a shell."""
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
