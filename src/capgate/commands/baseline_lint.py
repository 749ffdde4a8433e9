"""Gathers the findings of `capgate baseline lint` from files, targets and the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.baseline_findings import (
    Finding,
    Measured,
    near_chance_scores,
    of_baseline,
    of_faults,
    of_floors,
    of_newest,
    of_power,
    of_twins,
    of_unexplained_floors,
)
from capgate.common.errors import ConfigError
from capgate.config.benchmarks_file import load_benchmarks, shipped_benchmarks
from capgate.config.policy_file import load_policy, parse_policy
from capgate.config.published_scores import load_published, published_file
from capgate.config.settings import Settings
from capgate.config.targets import load_targets
from capgate.config.thresholds import TargetFloors, load_floors, with_floors
from capgate.gate.policy import Policy
from capgate.store.baselines import Baseline, load_baseline
from capgate.store.open_store import is_there, stored
from capgate.store.runs import StoredRun, newest_whole_runs

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
    entries = _entries(settings, found)
    by_file = _baselines(folder, found)
    suite = _policy(settings, found)
    floors = _floors(settings, found)
    newest = _newest(settings)
    baselines = {(one.target, one.benchmark): one for one in by_file.values()}

    def policy_on(target: str, benchmark: str) -> Policy:
        policy, entry = with_floors(suite, target, floors.get(target)), entries.get(benchmark)
        return policy.for_benchmark(
            benchmark,
            None if entry is None else entry.catch,
            parents=None if entry is None else entry.parent_of,
        )

    for name, baseline in by_file.items():
        pair = baseline.target, baseline.benchmark
        found += of_baseline(name, baseline, policy_on(*pair))
        if pair in newest:
            found += of_newest(baseline, newest[pair])
    found += of_twins(by_file)
    recorded = {target for target, _ in baselines}
    targets = {*floors, *suite.targets, *recorded, *(target for target, _ in newest)}
    for target in sorted(targets):
        mine = floors.get(target)
        if mine is not None:
            found += of_unexplained_floors(target, mine, suite)
        for benchmark in _judged_on(target, mine, suite, {*baselines, *newest}):
            pair = target, benchmark
            policy, own = policy_on(*pair), mine and mine.benchmarks.get(benchmark)
            found += of_floors(
                target,
                policy,
                _measured(baselines.get(pair), newest.get(pair)),
                reason=bool((mine and mine.reason) or (own and own.reason)),
                benchmark=benchmark,
            )
            entry = entries.get(benchmark)
            advisory = policy.is_advisory(benchmark, entry is not None and entry.advisory)
            if benchmark != MMLU and pair in newest and not advisory:
                found += of_power(target, benchmark, policy, newest[pair])
    found += _published(published_file(folder), suite, settings, required=False)
    if published is not None:
        found += _published(published, suite, settings, required=True)
    return found + _unknown(settings, {*(floors.keys() - _SHIPPED), *suite.targets, *recorded})


def _judged_on(
    target: str, floors: TargetFloors | None, suite: Policy, asked: Iterable[tuple[str, str]]
) -> list[str]:
    """The benchmarks that a target has floors on, or was asked: MMLU first."""
    others = {*suite.benchmarks, *(floors.benchmarks if floors else ())}
    others |= {benchmark for one, benchmark in asked if one == target}
    return [MMLU, *sorted(others - {MMLU})]


def _entries(settings: Settings, found: list[Finding]) -> Mapping[str, BenchmarkEntry]:
    try:
        return load_benchmarks(settings.root).entries
    except ConfigError as error:
        found += _of_error("benchmarks.yaml", error)
        return shipped_benchmarks().entries


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


def _policy(settings: Settings, found: list[Finding]) -> Policy:
    path = settings.thresholds_dir / "policy.yaml"
    if not path.exists():
        return parse_policy(None)
    try:
        return load_policy(path, root=settings.root)
    except ConfigError as error:
        found += _of_error(path.name, error)
        return parse_policy(None)


def _floors(settings: Settings, found: list[Finding]) -> dict[str, TargetFloors]:
    path = settings.thresholds_dir / "floors.yaml"
    try:
        return load_floors(path, root=settings.root)
    except ConfigError as error:
        found += _of_error(path.name, error)
        return {}


def _newest(settings: Settings) -> dict[tuple[str, str], StoredRun]:
    if not is_there(settings.store):
        return {}
    with stored(settings.store) as store:
        return newest_whole_runs(store)


def _published(path: Path, suite: Policy, settings: Settings, *, required: bool) -> list[Finding]:
    scores = load_published(path, root=settings.root)
    found = of_faults(path.name, scores.faults, "correct the row, or take it out")
    found += near_chance_scores(path.name, {s.model: s.mmlu for s in scores.scores.values()})
    if not required:
        wanted = {target: entry.published for target, entry in suite.targets.items()}
        for target, model in {**wanted, "": suite.published}.items():
            if model and not any(model in scores.of(one) for one in (MMLU, *scores.benchmarks)):
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
