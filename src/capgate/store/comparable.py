"""What two runs must agree in, so that the answers of one count beside those of the other.

The versions of inspect_ai and inspect_evals are not among it. They are recorded for people, and
named where what they brought with them differs: the task, the prompt, or what the scorer reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.mmlu.versions import PACKAGES, scorer_of

_COMPARED: Final[dict[str, tuple[str, str]]] = {
    "dataset": ("other questions", "name the data set that was asked with --dataset"),
    "task": ("another version of the task", "install the packages that it was made with"),
    "prompt_hash": ("another prompt", "name the task that was asked with --task"),
    "scorer": (
        "a scorer that reads answers differently",
        "see with capgate rescore which answers that changes",
    ),
    "generation": ("other generation settings", "use the same settings"),
}
"""What must agree: what it means where it does not, and what to do then."""

_REMEDIES_OF_OTHERS: Final = {
    "dataset": "put back the questions that were asked",
    "task": "put back the task that was asked, or the package that it came with",
    "prompt_hash": "put back the task and arguments that were asked",
}
"""What to do where a benchmark is another than MMLU, which no option changes."""

_UPSTREAM: Final = {"task", "prompt_hash", "scorer"}
"""What an upgrade of the packages may change."""


class Mismatch(NamedTuple):
    """Why two runs can not be compared.

    Attributes:
        clause: What the earlier one was made with, to follow "it was made with".
        remedy: What to do, to be followed by other ways.
    """

    clause: str
    remedy: str


def comparable(
    identity: Mapping[str, Any], prompt_hash: str, dataset: Mapping[str, Any]
) -> dict[str, Any]:
    """What two runs must agree in, so that their answers may be compared.

    A route is not among it: who answered is known of each answer (`capgate.serving.routes`).
    """
    return {
        "benchmark": identity.get("benchmark", MMLU),
        "dataset": dataset["digest"],
        **how_asked(identity["versions"], prompt_hash),
        "generation": requested(identity["generation"], identity.get("extra_body")),
    }


def how_asked(versions: Mapping[str, Any], prompt_hash: str) -> dict[str, Any]:
    """The task, prompt and scorer by which answers were had, and the packages they came with."""
    return {
        "task": versions.get("task"),
        "prompt_hash": prompt_hash,
        "scorer": scorer_of(versions),
        "packages": {name: versions[name] for name in PACKAGES if name in versions},
    }


def requested(
    generation: Mapping[str, Any], extra_body: Mapping[str, Any] | None
) -> dict[str, Any]:
    """All that a request carries and that changes its answer: top_p and a seed as well."""
    return {**generation, **(extra_body or {})}


def mismatch(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Mismatch | None:
    """What keeps answers from being compared; None where nothing does.

    Args:
        ours: `comparable` (or `how_asked`) of the later answers.
        theirs: That of the earlier ones. A scorer that is not known is taken for the same: the
            task's version is then all that tells.
    """
    differ = [key for key in _COMPARED if key in ours and not _agree(key, ours[key], theirs[key])]
    if not differ:
        return None
    clauses = [f"{_COMPARED[key][0]} ({describe_change(theirs[key], ours[key])})" for key in differ]
    both = theirs["packages"].keys() & ours["packages"].keys()
    packages = describe_change(
        *({name: one["packages"][name] for name in both} for one in (theirs, ours))
    )
    if packages and _UPSTREAM.intersection(differ):
        clauses[-1] = f"{clauses[-1].removesuffix(')')}; {packages})"
    remedies = {key: remedy for key, (_, remedy) in _COMPARED.items()}
    if ours.get("benchmark", MMLU) != MMLU:
        remedies |= _REMEDIES_OF_OTHERS
    return Mismatch(", ".join(clauses), ", ".join(remedies[key] for key in differ))


def same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one model answered by the facts of two fingerprints; the scorers may differ."""
    return _but_versions(one) == _but_versions(other)


def describe_change(before: object, now: object) -> str:
    """What changed between two values; of mappings, only the keys that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        return ", ".join(f"{key}: {describe_change(before.get(key), now.get(key))}" for key in keys)
    return f"{before} → {now}"


def _but_versions(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != "versions"}


def _agree(key: str, one: object, other: object) -> bool:
    return one == other or (key == "scorer" and None in (one, other))
