"""Reading `thresholds/policy.yaml`; every fault of the file is told at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, DOMAINS, MMLU, SUBJECTS
from capgate.common.bounded_yaml import compose
from capgate.common.errors import ConfigError, FileFault
from capgate.common.validation import explain
from capgate.common.yaml_file import names_in_quotes, read_yaml_mapping
from capgate.config.benchmark_groups import faults_of_groups, faults_of_name
from capgate.config.benchmarks_file import load_benchmarks, shipped_benchmarks
from capgate.gate.overrides import (
    BenchmarkOverride,
    Shares,
    SubjectOverride,
    TargetOverride,
    nearest,
)
from capgate.gate.policy import Policy

GROUP_NAMES: Final = {"domain": tuple(DOMAINS), "subject": SUBJECTS}
"""Names that a policy or a file of floors may use: context of their validation."""

_ENTRIES: Final[Mapping[str, type[BaseModel]]] = {
    "targets": TargetOverride,
    "benchmarks": BenchmarkOverride,
    "domains": SubjectOverride,
    "subjects": SubjectOverride,
}
_READINGS: Final = 4
"""A value, what it contradicts within its entry, what that does in the file, and once to spare."""

_REMEDY = "correct the file; docs/gate.md lists the keys and their meaning"


def load_policy(path: Path, *, root: Path | None = None, others: bool = False) -> Policy:
    """Reads a policy file; keys it leaves out have their defaults.

    Args:
        path: The file.
        root: The project's folder, whose benchmarks it may name; where None, the folder that the
            file's folder lies in.
        others: Whether it may name benchmarks that the project does not have, such as tasks of
            another harness's logs.

    Raises:
        ConfigError: With every fault of the file.
    """
    data = read_yaml_mapping(path, what="the gate's policy")
    # Most projects say nothing of benchmarks here, and a fault in that file is told elsewhere.
    entries = load_benchmarks(root or path.parent.parent).entries if "benchmarks" in data else None
    try:
        return parse_policy(data, source=str(path), entries=entries, others=others)
    except ConfigError as error:
        lines = _lines_of_keys(path)
        faults = [replace(one, place=_with_line(one.place, lines)) for one in error.faults]
        raise ConfigError(error.what, faults=faults, remedy=error.remedy) from None


def parse_policy(
    data: object,
    *,
    source: str = "the policy",
    entries: Mapping[str, BenchmarkEntry] | None = None,
    others: bool = False,
) -> Policy:
    """Makes a policy of what a file held.

    Args:
        data: A mapping as YAML gives it; None (an empty file) is the default policy.
        source: What to call it in errors.
        entries: The benchmarks that it may name; those that capgate ships where None.
        others: Whether it may name others as well.

    Raises:
        ConfigError: With every fault.
    """
    entries = shipped_benchmarks().entries if entries is None else entries
    if data is None:
        data = {}
    if not isinstance(data, dict):
        fault = FileFault("file", "expected a mapping of keys to values")
        raise ConfigError(f"{source} can't be used", faults=[fault], remedy=_REMEDY)
    policy, faults = _sound_part(data)
    faults += policy.faults({name: entry.catch for name, entry in entries.items()})
    for name, own in policy.benchmarks.items():
        faults += () if others else faults_of_name(name, entries)
        faults += faults_of_groups(name, entries.get(name), own.groups, own.parents)
    for name in _ENTRIES:
        named = data.get(name)
        faults += names_in_quotes(named if isinstance(named, dict) else (), under=name)
    if faults:
        raise ConfigError(f"{source} can't be used", faults=faults, remedy=_REMEDY)
    return policy


def _lines_of_keys(path: Path) -> dict[str, int]:
    """Returns the line in which each key of a YAML file stands, by its dotted place."""
    lines: dict[str, int] = {}

    def walk(node: yaml.Node | None, place: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = f"{place}.{key.value}" if place else str(key.value)
                lines[inner] = key.start_mark.line + 1
                walk(value, inner)

    walk(compose(path.read_text(encoding="utf-8")), "")
    return lines


def _with_line(place: str, lines: dict[str, int]) -> str:
    """Returns a place with its line, or with that of the entry it is missing in."""
    known = place
    while known and known not in lines:
        known = known.rpartition(".")[0]
    return f"line {lines[known]}, {place}" if known else place


def _sound_part(data: dict[Any, Any]) -> tuple[Policy, list[FileFault]]:
    """Returns the policy that the sound part of a file makes, and the faults of the rest.

    What contradicts itself shows only where each value is sound, so the faulty ones are left out
    and the rest is read again.
    """
    faults: list[FileFault] = []
    sound = data
    for _ in range(_READINGS):
        try:
            return _policy(sound), faults
        except ValidationError as error:
            faults += _explained(error)
            sound = _without(sound, [one["loc"] for one in error.errors()])
    return _policy({}), faults


def _without(data: dict[Any, Any], places: list[tuple[int | str, ...]]) -> dict[Any, Any]:
    """Returns the data without the values at some places."""
    sound = copy.deepcopy(data)
    for place in places:
        part: Any = sound
        path = [step for step in place if step != "[key]"]
        for step in path[:-1]:
            part = part.get(step, {}) if isinstance(part, dict) else {}
        if isinstance(part, dict) and path:
            part.pop(path[-1], None)
    return sound


def _policy(data: dict[Any, Any]) -> Policy:
    # Its floor, domains and subjects are MMLU's; those of others stand under `benchmarks`.
    policy = Policy.model_validate(data, context=GROUP_NAMES)
    return policy.grouped(DOMAIN_OF, benchmark=MMLU)


def _explained(error: ValidationError) -> list[FileFault]:
    """The faults that pydantic found; a known key in the wrong place has a message of its own."""
    told = explain(error, model=Policy, entries=_ENTRIES)
    for index, one in enumerate(error.errors()):
        loc = one["loc"]
        if one["type"] != "extra_forbidden" or not loc:
            continue
        name, place = str(loc[-1]), told[index].place
        if loc[0] == "shares":
            known = tuple(Shares.model_fields)
            meant = nearest(name, known)
            what = f"did you mean {meant}?" if meant else f"known: {', '.join(known)}"
            told[index] = FileFault(place, f"unknown key; {what}")
        elif loc[0] == "benchmarks" and len(loc) > 4 and name in BenchmarkOverride.model_fields:
            what = f"`{name}` is set for the whole benchmark, not for a group of it"
            told[index] = FileFault(place, what)
        elif name in Policy.model_fields:
            what = f"`{name}` is set for the whole suite or a target, not here"
            told[index] = FileFault(place, what)
    return told
