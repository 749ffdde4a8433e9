"""Servers that `inference-server start` left running, for runs and commands to find.

Each has a file that only its user may read, with its address, its key and its process.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from capgate.errors import ServerError

_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Running:
    """A server left running.

    Attributes:
        target: The target's id.
        base_url: Its API's root.
        key: Its key.
        identity: What it serves, see `Endpoint.identity`.
        pid: Its supervisor's process.
        log: Its log file.
    """

    target: str
    base_url: str
    key: str = field(repr=False)
    identity: Mapping[str, Any]
    pid: int
    log: str

    @property
    def alive(self) -> bool:
        """Whether its supervisor still runs, and is not another process of that number."""
        try:
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False
        return b"capgate.serving.supervisor" in command and os.fsencode(self.log) in command


def folder() -> Path:
    """Where the files lie; made where it is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = cache / "capgate" / "servers"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def remember(server: Running) -> None:
    """Notes a server."""
    path = folder() / f"{server.target}.json"
    partial = path.with_suffix(".partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(server), file)
    partial.replace(path)


def find(target: str) -> Running | None:
    """The server left running for a target, if it still is."""
    path = folder() / f"{target}.json"
    try:
        server = Running(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if not server.alive:
        path.unlink(missing_ok=True)
        return None
    return server


def all_running() -> list[Running]:
    """All servers left running, by target."""
    found = (find(path.stem) for path in sorted(folder().glob("*.json")))
    return [server for server in found if server is not None]


def stop(server: Running) -> None:
    """Ends a server and waits until it is gone.

    Raises:
        ServerError: It does not end.
    """
    os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while server.alive:
        if time.monotonic() > deadline:
            raise ServerError(
                f"its server (process {server.pid}) did not end within {_STOP_SECONDS:g} s",
                target=server.target,
                remedy=f"end it by hand: kill -9 {server.pid}",
            )
        time.sleep(_POLL_SECONDS)
    (folder() / f"{server.target}.json").unlink(missing_ok=True)
