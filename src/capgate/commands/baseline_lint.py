"""Gathers the findings of `capgate baseline lint` from files, targets and the store."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from capgate.commands.baseline_findings import (
    Finding,
    Measured,
    near_chance_scores,
    of_baseline,
    of_faults,
    of_floors,
    of_newest,
    of_twins,
    of_unexplained_floors,
)
from capgate.common.errors import ConfigError
from capgate.config.policy_file import load_policy, parse_policy
from capgate.config.published_scores import load_published, published_file
from capgate.config.settings import Settings
from capgate.config.targets import load_targets
from capgate.config.thresholds import TargetFloors, load_floors, with_floors
from capgate.gate.policy import Policy
from capgate.store.baselines import Baseline, load_baseline
from capgate.store.runs import StoredRun, known_targets, newest_whole, stored

_SHIPPED: Final = frozenset({"local-smollm2"})
"""Targets that have a floor in a new checkout. A project with other targets need not remove it."""


def findings(settings: Settings, published: Path | None = None) -> list[Finding]:
    """All faults of a project's floors, baselines, policy and published scores.

    Args:
        settings: Where its files are.
        published: A file of published scores to check as well.

    Raises:
        CapgateError: The file named in `published` can't be read, or the store can't.
    """
    folder = settings.thresholds_dir
    found: list[Finding] = []
    baselines = _baselines(folder, found)
    suite = _policy(folder, found)
    floors = _floors(folder, found)
    newest = _newest(settings)
    for name, baseline in baselines.items():
        found += of_baseline(name, baseline, suite.for_target(baseline.target))
        if baseline.target in newest:
            found += of_newest(baseline, newest[baseline.target])
    found += of_twins(baselines)
    for target in sorted({*floors, *suite.targets, *baselines, *newest}):
        mine = floors.get(target)
        if mine is not None:
            found += of_unexplained_floors(target, mine, suite)
        found += of_floors(
            target,
            mine,
            with_floors(suite, target, mine),
            _measured(baselines.get(target), newest.get(target)),
        )
    found += _published(published_file(folder), suite, required=False)
    if published is not None:
        found += _published(published, suite, required=True)
    return found + _unknown(settings, {*(floors.keys() - _SHIPPED), *suite.targets, *baselines})


def _measured(baseline: Baseline | None, newest: StoredRun | None) -> Measured | None:
    if newest is not None:
        return Measured.of_run(newest)
    return Measured.of_baseline(baseline) if baseline is not None else None


def _baselines(folder: Path, found: list[Finding]) -> dict[str, Baseline]:
    baselines: dict[str, Baseline] = {}
    for path in sorted((folder / "baselines").glob("*.json")):
        try:
            baselines[path.stem] = load_baseline(path)
        except ConfigError as error:
            found += _of_error(f"baselines/{path.name}", error)
    return baselines


def _policy(folder: Path, found: list[Finding]) -> Policy:
    path = folder / "policy.yaml"
    if not path.exists():
        return parse_policy(None)
    try:
        return load_policy(path)
    except ConfigError as error:
        found += _of_error(path.name, error)
        return parse_policy(None)


def _floors(folder: Path, found: list[Finding]) -> dict[str, TargetFloors]:
    path = folder / "floors.yaml"
    try:
        return load_floors(path)
    except ConfigError as error:
        found += _of_error(path.name, error)
        return {}


def _newest(settings: Settings) -> dict[str, StoredRun]:
    if not settings.store.is_file():
        return {}
    with stored(settings.store) as store:
        runs = {target: newest_whole(store, target) for target in known_targets(store)}
    return {target: run for target, run in runs.items() if run is not None}


def _published(path: Path, suite: Policy, *, required: bool) -> list[Finding]:
    scores = load_published(path)
    found = of_faults(path.name, scores.faults, "correct the row, or take it out")
    found += near_chance_scores(path.name, {s.model: s.mmlu for s in scores.scores.values()})
    if not required:
        wanted = {target: entry.published for target, entry in suite.targets.items()}
        for target, model in {**wanted, "": suite.published}.items():
            if model and model not in scores.scores:
                place = f"policy.yaml, targets.{target}.published" if target else "policy.yaml"
                what = f"{scores.label} has no usable score of {model}"
                found.append(Finding("faulty", place, what, scores.addition))
    return found


def _unknown(settings: Settings, named: set[str]) -> list[Finding]:
    """Floors, policies and baselines of targets that the models' file no longer has."""
    if not settings.models_file.exists():
        return []
    known = set(load_targets(settings.models_file).ids())
    # An adapter named on the command line is known as base+adapter and is in no file.
    gone = sorted(name for name in named if name.split("+")[0] not in known)
    what = f"{settings.models_file.name} has no such target"
    remedy = "remove it, or use the name of the target's entry"
    return [Finding("faulty", f"thresholds of {name}", what, remedy) for name in gone]


def _of_error(place: str, error: ConfigError) -> list[Finding]:
    if error.faults:
        return of_faults(place, error.faults, error.remedy or "correct the file")
    return [Finding("faulty", place, error.what, error.remedy or "correct the file")]
