"""One lock for each server's URL, for all runs of a user on this machine and of all stores.

Each run that asks a server shares the lock. A run holds it alone while no other run may ask the
server: while adapters are loaded and observed, and, if the server mixes up models that it
answers at the same time, during each of its requests. The operating system frees a lock when
the process that holds it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from capgate.common.errors import ConfigError
from capgate.common.user_cache import local_folder, locked, private_folder

TOLD_AFTER_SECONDS: Final = 5.0
"""Seconds of waiting after which the user sees a line about it."""

_POLL: Final = 0.05
_DAY: Final = 86400.0


@contextmanager
def asking(
    base_url: str, *, alone: bool = False, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Holds the right to ask a server.

    Args:
        base_url: The server's.
        alone: Whether no other run may ask it at the same time.
        waiting: Called if the wait takes more than a few seconds.

    Raises:
        ConfigError: The folder of the locks can not be made.
    """
    turn = _Turn(base_url, alone=alone, waiting=waiting)
    with closing(turn.steps()) as steps:
        for seconds in steps:
            time.sleep(seconds)
    with turn:
        yield


@asynccontextmanager
async def asking_in_loop(
    base_url: str, *, alone: bool = False, waiting: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Holds the right to ask a server, in an event loop; see `asking`."""
    turn = _Turn(base_url, alone=alone, waiting=waiting)
    with closing(turn.steps()) as steps:
        for seconds in steps:
            await asyncio.sleep(seconds)
    with turn:
        yield


def note_mixing(base_url: str, started: float | None) -> None:
    """Lets other runs know that a server mixes up models that it answers at the same time.

    Args:
        base_url: The server's.
        started: When its process started; None if it does not say.
    """
    _file(base_url, "mixes").write_text(json.dumps({"started": started}), encoding="ascii")


def known_to_mix(base_url: str, started: float | None = None) -> bool:
    """Whether a run has found that a server mixes up models, and it is still that process.

    Args:
        base_url: The server's.
        started: When its process started; None if it does not say.
    """
    note = _file(base_url, "mixes")
    try:
        then = json.loads(note.read_text(encoding="ascii"))["started"]
        old = time.time() - note.stat().st_mtime > _DAY
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if started is not None and then is not None:
        return bool(then == started)
    return not old


class _Turn:
    """One wait for the right to ask a server, and then the right itself.

    Args:
        base_url: The server's.
        alone: Whether no other run may ask it at the same time.
        waiting: Called if the wait takes more than a few seconds.
    """

    def __init__(self, base_url: str, *, alone: bool, waiting: Callable[[], None]) -> None:
        self._room = _file(base_url, "room")
        self._gate = _file(base_url, "gate")
        self._alone = alone
        self._waiting = waiting
        self._told_at = time.monotonic() + TOLD_AFTER_SECONDS
        self._held: IO[bytes] | None = None

    def steps(self) -> Generator[float, None, None]:
        """Takes the right; yields the seconds to wait each time that another holds it."""
        # Without the gate, runs that share the lock could follow each other for ever while
        # another run waits to hold it alone.
        with (yield from self._take(self._gate, fcntl.LOCK_EX)):
            how = fcntl.LOCK_EX if self._alone else fcntl.LOCK_SH
            self._held = yield from self._take(self._room, how)

    def _take(self, path: Path, how: int) -> Generator[float, None, IO[bytes]]:
        while True:
            try:
                return locked(path, how | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= self._told_at:
                    self._told_at = float("inf")
                    self._waiting()
                yield _POLL

    def __enter__(self) -> None:
        assert self._held is not None, "the steps were taken to their end"

    def __exit__(self, *exc: object) -> None:
        assert self._held is not None
        # The last run removes the files.
        with self._held, suppress(OSError):
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._room.unlink(missing_ok=True)
            self._gate.unlink(missing_ok=True)


def _file(base_url: str, kind: str) -> Path:
    parts = urlsplit(base_url.rstrip("/"))
    host = parts.hostname or ""
    if host in {"localhost", "::1"}:
        host = "127.0.0.1"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    name = hashlib.sha256(f"{host}:{port}{parts.path}".encode()).hexdigest()[:24]
    return _folder() / f"{name}.{kind}"


def _folder() -> Path:
    """The folder of the locks; a temporary one if the user's cache can not be written."""
    try:
        return private_folder("asking")
    except ConfigError:
        with suppress(OSError):
            return local_folder("asking")
        raise
