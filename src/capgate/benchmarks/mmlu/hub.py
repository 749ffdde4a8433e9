"""MMLU from the Hugging Face hub, through inspect_evals' loader and its pinned revision."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from capgate.benchmarks import hub
from capgate.common.errors import DatasetError

REPOSITORY: Final = "cais/mmlu"
"""MMLU on the hub."""

_FILES: Final = ("dataset_info.json", "mmlu-test.arrow", "mmlu-dev.arrow")

THREE_WAYS: Final = (
    "give the questions in one of three ways: run once with network access so that they are "
    "cached (HF_HOME keeps them), pass --dataset DIR for a folder with MMLU as jsonl, parquet "
    "or the original CSVs, or pass --dataset bundled for the small set that capgate ships"
)


@contextmanager
def ready(revision: str) -> Iterator[None]:
    """A block in which loading can't hang: it uses the cache alone where that has the revision.

    Args:
        revision: The pinned commit of `cais/mmlu`.

    Raises:
        DatasetError: Neither cache nor hub has the questions, or a local folder would be
            taken for them.
    """
    if Path(REPOSITORY).exists():
        raise DatasetError(
            f"the working directory has a folder ./{REPOSITORY}, which would hide the hub's",
            remedy=f"rename it, or pass it on purpose with --dataset {REPOSITORY}",
        )
    if cached(revision) or hub.is_offline():
        with hub.offline():
            yield
        return
    if said := hub.what_stops(REPOSITORY):
        raise unreachable(said)
    yield


def cached(revision: str) -> bool:
    """Whether the pinned revision lies whole in the `datasets` cache."""
    folder = _cache() / revision
    return all((folder / name).is_file() for name in _FILES)


def cache_state(revision: str) -> str | None:
    """What tells the cached files of a revision from any others; None where they are not whole.

    Args:
        revision: The pinned commit of `cais/mmlu`.
    """
    folder = _cache() / revision
    if Path(REPOSITORY).exists() or not cached(revision):
        return None
    told = [(folder / name).stat() for name in _FILES]
    return json.dumps([str(folder), [(one.st_size, one.st_mtime_ns) for one in told]])


def has_cache() -> bool:
    """Whether any revision lies in the cache; which one is pinned takes seconds to learn."""
    return any(_cache().glob("*"))


def _cache() -> Path:
    return hub.datasets_cache() / "cais___mmlu" / "all" / "0.0.0"


def unreachable(said: str) -> DatasetError:
    """The error for a hub that has not given the questions, with the ways out."""
    return DatasetError(f"MMLU can't be loaded from {hub.endpoint()}", said=said, remedy=THREE_WAYS)
