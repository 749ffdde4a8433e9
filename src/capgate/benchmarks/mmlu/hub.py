"""MMLU from the Hugging Face hub, through inspect_evals' loader and its pinned revision."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from capgate.common.errors import DatasetError

PROBE_SECONDS: Final = 5.0
"""How long the hub may take to answer before the run is told that it can't be reached."""

THREE_WAYS: Final = (
    "give the questions in one of three ways: run once with network access so that they are "
    "cached (HF_HOME keeps them), pass --dataset DIR for a folder with MMLU as jsonl, parquet "
    "or the original CSVs, or pass --dataset bundled for the small set that capgate ships"
)


def prepare(revision: str) -> None:
    """Makes sure that loading can't hang: uses the cache alone where it has the revision.

    Args:
        revision: The pinned commit of `cais/mmlu`.

    Raises:
        DatasetError: Neither cache nor hub has the questions, or a local folder would be
            taken for them.
    """
    if Path("cais/mmlu").exists():
        raise DatasetError(
            "the working directory has a folder ./cais/mmlu, which would hide the hub's",
            remedy="rename it, or pass it on purpose with --dataset cais/mmlu",
        )
    if cached(revision) or _offline():
        _go_offline()
        return
    _probe()


def cached(revision: str) -> bool:
    """Whether the pinned revision lies whole in the `datasets` cache."""
    folder = _datasets_cache() / "cais___mmlu" / "all" / "0.0.0" / revision
    return all(
        (folder / name).is_file()
        for name in ("dataset_info.json", "mmlu-test.arrow", "mmlu-dev.arrow")
    )


def has_cache() -> bool:
    """Whether any revision lies in the cache; which one is pinned takes seconds to learn."""
    return any((_datasets_cache() / "cais___mmlu" / "all" / "0.0.0").glob("*"))


def unreachable(said: str) -> DatasetError:
    """The error for a hub that has not given the questions, with the ways out."""
    return DatasetError(f"MMLU can't be loaded from {_endpoint()}", said=said, remedy=THREE_WAYS)


def _probe() -> None:
    import httpx

    url = f"{_endpoint()}/datasets/cais/mmlu/resolve/main/README.md"
    found: list[str] = []

    def ask() -> None:
        try:
            status = httpx.head(url, timeout=PROBE_SECONDS, follow_redirects=True).status_code
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
        else:
            found.append(f"HTTP {status}" if status in {403, 407} or status >= 500 else "")

    # In a thread of its own: no time-out bounds how long the system looks up a name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    said = found[0] if found else f"no answer within {PROBE_SECONDS:g} s"
    if said:
        raise unreachable(said)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _datasets_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"
    )
    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(home, "datasets")).expanduser()


def _offline() -> bool:
    truthy = {"1", "ON", "YES", "TRUE"}
    return any(
        os.environ.get(name, "").upper() in truthy
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    )


def _go_offline() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    for module, switch in (
        ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
        ("datasets.config", "HF_HUB_OFFLINE"),
        ("datasets.config", "HF_DATASETS_OFFLINE"),
    ):
        if module in sys.modules:
            setattr(sys.modules[module], switch, True)


def host() -> str:
    """The hub's host, for messages."""
    return urlsplit(_endpoint()).hostname or _endpoint()
