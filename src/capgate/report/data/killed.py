"""Runs that were killed before they wrote their report, and the command that resumes one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import CapgateError, ConfigError
from capgate.config.shown_command import run_command
from capgate.config.store_place import StorePlace
from capgate.store.answer_store import Store
from capgate.store.open_store import is_there, open_store
from capgate.store.runs import has_tests
from capgate.store.shard import Shard

_RESULTS: Final = ("report.json", "sweep.json")
"""What a run, or a sweep, writes at its end."""


def killed_runs(store: StorePlace, output: Path) -> list[str]:
    """The runs of a store whose tests began and that left no report, oldest first.

    Commands such as `capgate parity` ask questions too and write none; they are left out.

    Args:
        store: Where the store is.
        output: The folder of results.
    """
    if not is_there(store):
        return []
    # The commands that need the store say where it can't be read.
    with suppress(CapgateError), open_store(store) as opened:
        ids = opened.run_ids()
        return sorted(run for run in ids if is_killed(opened, run, output))
    return []


def is_killed(store: Store, run: str, output: Path) -> bool:
    """Whether a run's tests began and it left no report."""
    folder = output / run
    # Where the folder is missing, the run wrote to another one.
    if not folder.is_dir() or has_results(folder):
        return False
    return has_tests(store, run)


def has_results(folder: Path) -> bool:
    """Whether a run, or a sweep, has written its results to its folder."""
    return any((folder / name).is_file() for name in _RESULTS)


def killed_fault(store: Store, run: str) -> ConfigError:
    """The fault of a run that was killed, with the command that resumes it."""
    _, settings = store.begun(run)
    return ConfigError(
        f"the run {run} was killed before its report, unless it still runs",
        remedy=f"resume with `{resume_command(settings, store.shards(run))}`; what was answered "
        "is not asked again",
    )


def killed_fault_of(store: StorePlace, run: str) -> ConfigError:
    """The same, of a run in the store at that place.

    Raises:
        StoreError: It can't be opened.
    """
    with open_store(store) as opened:
        return killed_fault(opened, run)


def resume_command(
    settings: Mapping[str, Any], shards: Mapping[tuple[str, Shard], Mapping[str, Any]]
) -> str:
    """The command that takes a killed run up again.

    Args:
        settings: What the run was asked to do.
        shards: Target and shard to what the run recorded of it.
    """
    entries = {name: facts for (name, shard), facts in shards.items() if shard.kind == "entry"}
    modes = {str(facts["mode"]) for facts in entries.values() if facts.get("mode")}
    models = {
        name: (str(facts["model_id"]), facts.get("adapter_name"))
        for name, facts in entries.items()
        if facts.get("model_id")
    }
    return run_command(settings, modes or {"full"}, models)
