"""What decides how answers are asked for and read, and which package versions came with it.

A task's `versions` hold its name and comparability version (`task`), the hash of what its scorer
reads (`scorer`), and the packages' versions (`inspect_ai`, `inspect_evals`). Only the first two
matter: an upgrade of a package that changes neither leaves stored answers and baselines valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PACKAGES: Final = ("inspect_ai", "inspect_evals")
"""The keys of `versions` that are recorded for people."""

_SCORER_OF_PACKAGES: Final = {
    ("0.3.285", "0.26.0"): "3a62ffba59e1b87c",
    ("0.3.285", "0.28.0"): "3a62ffba59e1b87c",
}
"""Versions of `PACKAGES` with which capgate worked before it recorded `scorer`, to that hash."""


def scorer_of(versions: Mapping[str, Any]) -> str | None:
    """The hash of what the scorer reads; None where `versions` do not tell it.

    Args:
        versions: Of a task, in today's form or in the one without `scorer`.
    """
    return versions.get("scorer") or _SCORER_OF_PACKAGES.get(_packages(versions))


def hashed_versions(versions: Mapping[str, Any]) -> dict[str, Any]:
    """What of `versions` goes into the hash that stored answers are found by.

    A scorer that capgate knew before it recorded `scorer` stands there as the package versions
    that it came with first. So the hashes made at that time are the same as today's.
    """
    scorer = scorer_of(versions)
    if scorer is None:
        return dict(versions)
    first = next((key for key, known in _SCORER_OF_PACKAGES.items() if known == scorer), None)
    named = {"scorer": scorer} if first is None else dict(zip(PACKAGES, first, strict=True))
    kept = {key: versions[key] for key in versions if key not in {"scorer", *PACKAGES}}
    return kept | named


def _packages(versions: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(versions.get(name) for name in PACKAGES)
