"""Servers that `inference-server start` left running, so that runs and commands find them.

Each server has a file that only its user may read. It holds the server's address, key and
process. The file is named after the target and the folder in which the server was started.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from capgate.common.errors import ServerError
from capgate.common.json_file import read_json
from capgate.common.user_cache import locked, private_folder

_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Running:
    """A server left running.

    Attributes:
        project: The folder that it was started in.
        target: The target's id.
        base_url: Its API's root.
        key: Its key.
        identity: What it serves, see `Endpoint.identity`.
        pid: Its supervisor's process.
        log: Its log file.
        place: Its name among the servers of its target; `""` where it is the only one.
    """

    project: str
    target: str
    base_url: str
    key: str = field(repr=False)
    identity: Mapping[str, Any]
    pid: int
    log: str
    place: str = ""

    @property
    def alive(self) -> bool:
        """Whether its supervisor still runs, and no other process has its number."""
        try:
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False
        return b"capgate.serving.engines.supervisor" in command and os.fsencode(self.log) in command


def project() -> str:
    """The folder in which servers are started and found: the working directory."""
    return str(Path.cwd())


def logs() -> Path:
    """The folder of the logs of this project's servers."""
    return private_folder("servers") / "logs" / _hash(project())


@contextmanager
def starting(target: str) -> Iterator[None]:
    """Lets only one command at a time start a target's server."""
    with locked(_file(project(), target).with_suffix(".lock"), fcntl.LOCK_EX):
        yield


def remember(server: Running) -> None:
    """Writes a server's file."""
    path = _file(server.project, server.target, server.place)
    partial = path.with_suffix(".partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(server), file)
    partial.replace(path)


def find(target: str) -> list[Running]:
    """The servers that this project left running for a target."""
    here = project()
    return [one for one in all_running() if (one.project, one.target) == (here, target)]


def all_running() -> list[Running]:
    """The servers that all projects of this user left running."""
    found = map(_read, private_folder("servers").glob("*.json"))
    running = [server for server in found if server is not None]
    return sorted(running, key=lambda one: (one.target, one.project, len(one.place), one.place))


def stop(server: Running) -> None:
    """Ends a server and waits until it is gone.

    Raises:
        ServerError: The server does not end.
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
    _file(server.project, server.target, server.place).unlink(missing_ok=True)


def _file(in_project: str, target: str, place: str = "") -> Path:
    number = f"@{place.rsplit(' ', 1)[-1]}" if place else ""
    return private_folder("servers") / f"{target}@{_hash(in_project)}{number}.json"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _read(path: Path) -> Running | None:
    try:
        server = TypeAdapter(Running).validate_python(read_json(path))
    except (OSError, ValueError):
        return None
    if not server.alive:
        path.unlink(missing_ok=True)
        return None
    return server
