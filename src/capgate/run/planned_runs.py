"""The earlier runs whose figures a plan rests on."""

from __future__ import annotations

from itertools import islice
from typing import Final

from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.store.answer_store import Store
from capgate.store.open_store import is_there, stored
from capgate.store.runs import StoredRun, known_targets, runs_of

_LOOKED_AT: Final = 5
"""How many of a target's newest runs, and of its newest whole runs, give figures."""


def runs_to_plan_by(
    settings: Settings, target: Target, benchmark: str
) -> tuple[list[StoredRun], list[StoredRun]]:
    """The last runs of a target, and one of each other adapter of its base, newest first.

    Args:
        settings: Which say where the store is.
        target: The target.
        benchmark: The benchmark's name.
    """
    if not is_there(settings.store):
        return [], []
    with stored(settings.store) as store:
        newest = list(islice(runs_of(store, target.id, benchmark=benchmark), _LOOKED_AT))
        whole = islice(runs_of(store, target.id, kinds=["suite"], benchmark=benchmark), _LOOKED_AT)
        mine = newest + [run for run in whole if run.id not in {one.id for one in newest}]
        siblings = [
            run
            for other in known_targets(store)
            if other != target.id and target.adapter_of is not None
            for run in _one_of(store, other, benchmark)
            if run.about.get("model_id") == target.adapter_of and run.about.get("adapter_name")
        ]
    return mine, sorted(siblings, key=lambda run: -run.started)


def _one_of(store: Store, target: str, benchmark: str) -> list[StoredRun]:
    """A target's newest whole run, or else its newest."""
    whole = list(islice(runs_of(store, target, kinds=["suite"], benchmark=benchmark), 1))
    return whole or list(islice(runs_of(store, target, benchmark=benchmark), 1))
