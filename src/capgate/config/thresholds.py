"""`thresholds/`: what a target is compared with, and how strictly.

| file | holds |
|---|---|
| `policy.yaml` | what may be lost and how often the gate may err |
| `floors.yaml` | accuracies demanded of a target, its domains and its subjects |
| `published.yaml` | published scores, usable as a floor, in place of the shipped list |
| `baselines/<target>.json` | a recorded run of MMLU, question by question |
| `baselines/<target>.<benchmark>.json` | the same of another benchmark |
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.errors import ConfigError, FileFault, ReferenceMissingError
from capgate.common.validation import explain
from capgate.common.yaml_file import names_in_quotes, read_yaml_mapping
from capgate.config.policy_file import GROUP_NAMES, load_policy, parse_policy
from capgate.config.published_scores import load_published, published_file
from capgate.config.targets import Target
from capgate.gate.decide_floor import Floor
from capgate.gate.overrides import (
    Domain,
    Reason,
    ReferenceChoice,
    Subject,
    SubjectOverride,
    TargetOverride,
)
from capgate.gate.policy import Policy

Accuracy = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False, strict=True)]


class TargetFloors(BaseModel):
    """The accuracies demanded of one target, as fractions.

    Attributes:
        overall: Over all questions.
        domains: Of each subject of a domain.
        subjects: Of single subjects; they win over the domain's.
        reason: Where the figures come from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    overall: Accuracy | None = None
    domains: dict[Domain, Accuracy] = {}
    subjects: dict[Subject, Accuracy] = {}
    reason: Reason | None = None


def load_floors(path: Path) -> dict[str, TargetFloors]:
    """Reads `floors.yaml`; a missing file has no floors.

    Raises:
        ConfigError: With every fault of the file.
    """
    if not path.exists():
        return {}
    floors: dict[str, TargetFloors] = {}
    faults: list[FileFault] = []
    data = read_yaml_mapping(path, what="each target's floors")
    faults += names_in_quotes(data)
    for target, body in data.items():
        if not isinstance(body, dict):
            faults.append(
                FileFault(str(target), "expected overall:, domains: or subjects: below it")
            )
            continue
        try:
            floors[str(target)] = TargetFloors.model_validate(body, context=GROUP_NAMES)
        except ValidationError as error:
            faults.extend(explain(error, prefix=str(target), model=TargetFloors))
    if faults:
        raise ConfigError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
            faults=faults,
            remedy="an accuracy is a fraction: write 65 % as 0.65",
        )
    return floors


def policy_for(folder: Path, target: str, file: Path | None = None) -> Policy:
    """The policy in force for the target of an id, whether or not there is such an entry.

    A floor in `floors.yaml` is this target's own: it wins over one that `policy.yaml` has for
    all targets, but not over one under the target's name there.

    Args:
        folder: The folder of thresholds.
        target: The target's id.
        file: A policy in place of the folder's `policy.yaml`.

    Raises:
        ConfigError: A file has faults, or the one named is missing.
    """
    named = file or folder / "policy.yaml"
    suite = load_policy(named) if file is not None or named.exists() else parse_policy(None)
    path = folder / "floors.yaml"
    floors = load_floors(path).get(target)
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
    domains = {name: entry.floor for name, entry in suite.domains.items()}
    pairs = (
        ("overall", floors.overall, suite.floor),
        *((f"domains.{d}", floor, domains.get(d)) for d, floor in floors.domains.items()),
        *((f"subjects.{s}", f, suite.for_subject(s).floor) for s, f in floors.subjects.items()),
    )
    return [
        FileFault(
            f"{target}.{name}",
            f"{floor:g} is weaker than {general:g}, which is demanded of all",
            kind="weakened",
        )
        for name, floor, general in pairs
        if floor is not None and general is not None and floor < general
    ]


def with_floors(suite: Policy, target: str, floors: TargetFloors | None) -> Policy:
    """A policy with a target's overrides and floors in force."""
    policy = suite.for_target(target)
    if floors is None:
        return policy
    own = suite.targets.get(target)
    domains = {
        name: _with_floor(policy.domains.get(name), accuracy)
        for name, accuracy in floors.domains.items()
    }
    subjects = {
        name: _with_floor(policy.subjects.get(name), accuracy)
        for name, accuracy in floors.subjects.items()
    }
    return policy.model_copy(
        update={
            "floor": (own.floor if own else None) or floors.overall or policy.floor,
            "domains": {**policy.domains, **domains},
            "subjects": {**policy.subjects, **subjects},
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


def floor_of(policy: Policy, target: Target, folder: Path, published: Path | None = None) -> Floor:
    """The floor that a target is held against.

    Args:
        policy: The policy in force for it.
        target: The target.
        folder: The folder of thresholds.
        published: A file of published scores to take it from, in place of the one in force.

    Raises:
        ReferenceMissingError: It has none.
        ConfigError: The published score can't be used.
    """
    if published is not None or policy.reference == "published":
        scores = load_published(published or published_file(folder))
        # Without a name in the policy, the names that the target itself goes by.
        last = target.served_name.rsplit("/", 1)[-1]
        names = [name for name in (target.id, *target.names, last) if name in scores.scores]
        return scores.floor(policy.published or (names[0] if names else last))
    if policy.floor is None:
        raise ReferenceMissingError(
            "it has nothing to be compared with",
            target=target.id,
            remedy="measure it once (--measure) and record that as its baseline (capgate baseline "
            f"record {target.id}), or set a floor in {folder.name}/floors.yaml",
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


def _with_floor(
    override: SubjectOverride | TargetOverride | None, accuracy: float
) -> SubjectOverride:
    return (override or SubjectOverride()).model_copy(update={"floor": accuracy})
