"""`thresholds/`: what a target is compared with, and how strictly.

| file | holds |
|---|---|
| `policy.yaml` | what may be lost and how often the gate may err |
| `floors.yaml` | accuracies demanded of a target, on the whole and in parts of each benchmark |
| `published.yaml` | published scores, usable as a floor, in place of the shipped list |
| `baselines/<target>.json` | a recorded run of MMLU, question by question |
| `baselines/<target>.<benchmark>.json` | the same of another benchmark |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.errors import ConfigError, FileFault, ReferenceMissingError
from capgate.common.validation import explain
from capgate.common.yaml_file import names_in_quotes, read_yaml_mapping
from capgate.config.benchmark_groups import faults_of_groups, faults_of_name
from capgate.config.benchmarks_file import load_benchmarks
from capgate.config.policy_file import GROUP_NAMES, load_policy, parse_policy
from capgate.config.published_scores import load_published, published_file
from capgate.config.shown_command import of_benchmark
from capgate.config.targets import Target
from capgate.gate.decide_floor import Floor
from capgate.gate.overrides import (
    BenchmarkOverride,
    Domain,
    Reason,
    ReferenceChoice,
    Subject,
    SubjectOverride,
)
from capgate.gate.policy import Policy

Accuracy = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False, strict=True)]


class BenchmarkFloors(BaseModel):
    """The accuracies demanded of one target on one benchmark, as fractions.

    Attributes:
        overall: Over all questions.
        parents: Of each group of a parent.
        groups: Of single groups; they win over the parent's.
        reason: Where the figures come from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    overall: Accuracy | None = None
    parents: dict[str, Accuracy] = {}
    groups: dict[str, Accuracy] = {}
    reason: Reason | None = None


class TargetFloors(BaseModel):
    """The accuracies demanded of one target, as fractions.

    Attributes:
        overall: Over all questions of MMLU.
        domains: Of each subject of a domain of MMLU.
        subjects: Of single subjects of MMLU; they win over the domain's.
        benchmarks: On other benchmarks.
        reason: Where the figures come from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    overall: Accuracy | None = None
    domains: dict[Domain, Accuracy] = {}
    subjects: dict[Subject, Accuracy] = {}
    benchmarks: dict[str, BenchmarkFloors] = {}
    reason: Reason | None = None

    def faults(self, entries: Mapping[str, BenchmarkEntry]) -> Iterator[FileFault]:
        """What is wrong beside single values; places are keys of the target's entry.

        Args:
            entries: The benchmarks that there are.
        """
        for name, own in self.benchmarks.items():
            if name == MMLU:
                what = "MMLU's floors stand in overall, domains and subjects of the target"
                yield FileFault(f"benchmarks.{name}", what)
                continue
            yield from faults_of_name(name, entries)
            yield from faults_of_groups(name, entries.get(name), own.groups, own.parents)


def load_floors(path: Path, *, root: Path | None = None) -> dict[str, TargetFloors]:
    """Reads `floors.yaml`; a missing file has no floors.

    Args:
        path: The file.
        root: The project's folder, whose benchmarks it may name; where None, the folder that the
            file's folder lies in.

    Raises:
        ConfigError: With every fault of the file.
    """
    if not path.exists():
        return {}
    entries: Mapping[str, BenchmarkEntry] | None = None
    floors: dict[str, TargetFloors] = {}
    faults: list[FileFault] = []
    data = read_yaml_mapping(path, what="each target's floors")
    faults += names_in_quotes(data)
    for target, body in data.items():
        if not isinstance(body, dict):
            faults.append(
                FileFault(
                    str(target), "expected overall:, domains:, subjects: or benchmarks: below it"
                )
            )
            continue
        try:
            mine = TargetFloors.model_validate(body, context=GROUP_NAMES)
        except ValidationError as error:
            within = {"benchmarks": BenchmarkFloors}
            faults += explain(error, prefix=str(target), model=TargetFloors, entries=within)
            continue
        floors[str(target)] = mine
        if mine.benchmarks and entries is None:
            entries = load_benchmarks(root or path.parent.parent).entries
        for fault in mine.faults(entries or {}):
            faults.append(FileFault(f"{target}.{fault.place}", fault.what))
    if faults:
        raise ConfigError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
            faults=faults,
            remedy="an accuracy is a fraction: write 65 % as 0.65",
        )
    return floors


def policy_for(
    folder: Path,
    target: str,
    file: Path | None = None,
    *,
    root: Path | None = None,
    others: bool = False,
) -> Policy:
    """The policy in force for the target of an id, whether or not there is such an entry.

    It is MMLU's; `Policy.for_benchmark` makes another benchmark's of it. A floor in `floors.yaml`
    is this target's own: it wins over one that `policy.yaml` has for all targets, but not over one
    under the target's name there.

    Args:
        folder: The folder of thresholds.
        target: The target's id.
        file: A policy in place of the folder's `policy.yaml`.
        root: The project's folder, whose benchmarks these files may name; where None, the folder
            that `folder` lies in.
        others: Whether the policy may name benchmarks that the project does not have.

    Raises:
        ConfigError: A file has faults, or the one named is missing.
    """
    named, root = file or folder / "policy.yaml", root or folder.parent
    there = file is not None or named.exists()
    suite = load_policy(named, root=root, others=others) if there else parse_policy(None)
    path = folder / "floors.yaml"
    floors = load_floors(path, root=root).get(target)
    if faults := weakened(target, floors, suite):
        raise ConfigError(
            f"{path} weakens bars of policy.yaml without a reason",
            faults=faults,
            remedy=f"say why in `reason:` of {target}, or take the lower floor out",
        )
    return with_floors(suite, target, floors)


def weakened(target: str, floors: TargetFloors | None, suite: Policy) -> list[FileFault]:
    """The floors of a target that are lower than those for all, without a reason beside them."""
    if floors is None or floors.reason is not None:
        return []
    own: dict[str, float | None] = {"overall": floors.overall}
    own |= {f"domains.{name}": floor for name, floor in floors.domains.items()}
    own |= {f"subjects.{name}": floor for name, floor in floors.subjects.items()}
    of_all: dict[str, float | None] = {"overall": suite.floor}
    of_all |= {f"domains.{name}": entry.floor for name, entry in suite.domains.items()}
    of_all |= {f"subjects.{name}": suite.for_subject(name).floor for name in floors.subjects}
    for name, mine in floors.benchmarks.items():
        place, theirs = f"benchmarks.{name}", suite.benchmarks.get(name)
        if mine.reason is not None or theirs is None:
            continue
        own[f"{place}.overall"], of_all[f"{place}.overall"] = mine.overall, theirs.floor
        for key, floors_of, entries in (
            ("parents", mine.parents, theirs.parents),
            ("groups", mine.groups, theirs.groups),
        ):
            own |= {f"{place}.{key}.{one}": floor for one, floor in floors_of.items()}
            of_all |= {f"{place}.{key}.{one}": entry.floor for one, entry in entries.items()}
    return [
        FileFault(
            f"{target}.{name}",
            f"{floor:g} is weaker than {general:g}, which is demanded of all",
            kind="weakened",
        )
        for name, floor in own.items()
        if floor is not None and (general := of_all.get(name)) is not None and floor < general
    ]


def with_floors(suite: Policy, target: str, floors: TargetFloors | None) -> Policy:
    """A policy with a target's overrides and floors in force."""
    policy = suite.for_target(target)
    if floors is None:
        return policy
    own, of_mmlu = suite.targets.get(target), policy.benchmarks.get(MMLU)
    benchmarks = {
        name: _with_floors(policy.benchmarks.get(name) or BenchmarkOverride(), mine)
        for name, mine in floors.benchmarks.items()
    }
    if of_mmlu is not None:
        mine = BenchmarkFloors(
            overall=floors.overall, parents=floors.domains, groups=floors.subjects
        )
        benchmarks[MMLU] = _with_floors(of_mmlu, mine)
    return policy.model_copy(
        update={
            "floor": (own.floor if own else None) or floors.overall or policy.floor,
            "domains": _each_with_floor(policy.domains, floors.domains),
            "subjects": _each_with_floor(policy.subjects, floors.subjects),
            "benchmarks": {**policy.benchmarks, **benchmarks},
        }
    )


def reference_choice(
    policy: Policy,
    target: Target,
    folder: Path,
    *,
    benchmark: str = MMLU,
    forced: ReferenceChoice | None = None,
) -> ReferenceChoice | None:
    """What a target is to be compared with on a benchmark; None where there is nothing.

    Args:
        policy: The policy in force for it.
        target: The target.
        folder: The folder of thresholds.
        benchmark: The benchmark's name.
        forced: What the command line demands in place of the policy's reference.

    Raises:
        ConfigError: The policy puts a floor in the place of a comparison question by question
            and does not say why.
    """
    paired: ReferenceChoice | None = None
    if target.adapter_of is not None:
        paired = "base"
    elif baseline_file(folder, target, benchmark).exists():
        paired = "baseline"
    if forced is not None:
        return forced
    if policy.reference is None:
        return paired or (None if policy.floor is None else "floor")
    if paired and policy.reference in {"floor", "published"} and policy.reason is None:
        raise ConfigError(
            f"`reference: {policy.reference}` is weaker than comparing it with its {paired}, "
            "question by question",
            target=target.id,
            remedy="say why in `reason:` beside `reference:`, or take that out",
        )
    return policy.reference


def floor_of(
    policy: Policy,
    target: Target,
    folder: Path,
    published: Path | None = None,
    *,
    benchmark: str = MMLU,
    root: Path | None = None,
) -> Floor:
    """The floor that a target is held against on a benchmark.

    Args:
        policy: The policy in force for it on the benchmark.
        target: The target.
        folder: The folder of thresholds.
        published: A file of published scores to take it from, in place of the one in force.
        benchmark: The benchmark's name.
        root: The project's folder, whose benchmarks the file may name; where None, it may name
            those that capgate ships.

    Raises:
        ReferenceMissingError: It has none.
        ConfigError: The published score can't be used.
    """
    if published is not None or policy.reference == "published":
        scores = load_published(published or published_file(folder), root=root)
        # Without a name in the policy, the names that the target itself goes by.
        last, known = target.served_name.rsplit("/", 1)[-1], scores.of(benchmark)
        names = [name for name in (target.id, *target.names, last) if name in known]
        return scores.floor(policy.published or (names[0] if names else last), benchmark)
    if policy.floor is None:
        raise ReferenceMissingError(
            "it has nothing to be compared with",
            target=target.id,
            remedy="measure it once (--measure) and record that as its baseline (capgate baseline "
            f"record {target.id}{of_benchmark(benchmark)}), or set a floor in "
            f"{folder.name}/floors.yaml"
            + ("" if benchmark == MMLU else f" (benchmarks: {benchmark}: of the target)"),
        )
    return Floor(policy.floor, source=folder.name)


def baseline_file(folder: Path, target: Target, benchmark: str = MMLU) -> Path:
    """Where a target's recorded baseline of a benchmark lies, whether or not there is one."""
    return baseline_path(folder, target.id, benchmark)


def baseline_path(folder: Path, target: str, benchmark: str = MMLU) -> Path:
    """Where the baseline of the target of an id lies, whether or not there is one."""
    return folder / "baselines" / f"{baseline_name(target, benchmark)}.json"


def baseline_name(target: str, benchmark: str) -> str:
    """The name of a baseline's file, without its ending."""
    return target if benchmark == MMLU else f"{target}.{benchmark}"


def _with_floors(override: BenchmarkOverride, floors: BenchmarkFloors) -> BenchmarkOverride:
    return override.model_copy(
        update={
            "floor": floors.overall or override.floor,
            "groups": _each_with_floor(override.groups, floors.groups),
            "parents": _each_with_floor(override.parents, floors.parents),
        }
    )


def _each_with_floor(
    overrides: Mapping[str, SubjectOverride], floors: Mapping[str, float]
) -> dict[str, SubjectOverride]:
    return {**overrides} | {
        name: (overrides.get(name) or SubjectOverride()).model_copy(update={"floor": accuracy})
        for name, accuracy in floors.items()
    }
