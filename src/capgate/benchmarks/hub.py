"""The Hugging Face hub and its cache on this machine, as far as loading questions needs them."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from capgate.common.while_needed import WhileNeeded

PROBE_SECONDS: Final = 5.0
"""How long the hub may take to answer before the run is told that it can't be reached."""

_SWITCHES: Final = (
    ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_DATASETS_OFFLINE"),
)
"""Module and attribute in which an imported library keeps what the environment said."""

_LOGGERS: Final = ("datasets", "huggingface_hub", "inspect_evals", "backoff")


def endpoint() -> str:
    """The hub's address."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def host() -> str:
    """The hub's host, for messages."""
    return urlsplit(endpoint()).hostname or endpoint()


def datasets_cache() -> Path:
    """The folder in which `datasets` keeps what it has loaded."""
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"
    )
    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(home, "datasets")).expanduser()


def cached_configurations(repository: str) -> list[str]:
    """The configurations of a data set that the cache has in any revision.

    Args:
        repository: Such as `openai/gsm8k`.
    """
    wanted = _plain(repository.replace("/", "___"))
    folders = [one for one in datasets_cache().glob("*___*") if _plain(one.name) == wanted]
    return sorted(one.name for folder in folders for one in folder.iterdir() if one.is_dir())


def _plain(folder: str) -> str:
    # `datasets` writes a name in lower case, with signs between its words.
    return folder.replace("_", "").replace("-", "").casefold()


def is_offline() -> bool:
    """Whether the user has told the libraries not to reach the hub."""
    truthy = {"1", "ON", "YES", "TRUE"}
    return any(
        os.environ.get(name, "").upper() in truthy
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    )


def offline() -> AbstractContextManager[None]:
    """A block in which the libraries use the cache alone, so that loading can't hang."""
    return _offline.block()


@contextmanager
def _gone_offline() -> Iterator[None]:
    before = os.environ.get("HF_HUB_OFFLINE")
    was = is_offline()
    kept = {
        (module, switch): getattr(sys.modules[module], switch)
        for module, switch in _SWITCHES
        if hasattr(sys.modules.get(module), switch)
    }
    os.environ["HF_HUB_OFFLINE"] = "1"
    for module, switch in kept:
        setattr(sys.modules[module], switch, True)
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before
        for module, switch in _SWITCHES:
            # A library that was imported within the block has read the environment there.
            if hasattr(sys.modules.get(module), switch):
                setattr(sys.modules[module], switch, kept.get((module, switch), was))


_offline = WhileNeeded(_gone_offline)


def what_stops(repository: str) -> str:
    """What keeps a data set on the hub out of reach; `""` where it can be reached.

    Args:
        repository: Such as `openai/gsm8k`.
    """
    return what_stops_url(f"{endpoint()}/datasets/{repository}/resolve/main/README.md")


def what_stops_url(url: str) -> str:
    """What keeps a server from answering; `""` where it answers, if only that it lacks the page.

    Args:
        url: A page on it.
    """
    import httpx

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
    return found[0] if found else f"no answer within {PROBE_SECONDS:g} s"


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the loaders' progress bars and chatter off the terminal."""
    import datasets

    datasets.disable_progress_bars()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        datasets.enable_progress_bars()
