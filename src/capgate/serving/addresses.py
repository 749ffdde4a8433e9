"""Where the servers of one target answer: the addresses of its endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from capgate.config.targets import Target


class Answering(Protocol):
    """A server that capgate has started."""

    @property
    def base_url(self) -> str:
        """Its API's root."""

    @property
    def key(self) -> str:
        """Its key."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What it serves, see `Endpoint.identity`."""

    @property
    def place(self) -> str:
        """Its name among the servers of its target; `""` where it is the only one."""


class StartedServer(Answering, Protocol):
    """A server that was started for a run, on this machine or on another one."""

    @property
    def log(self) -> Path:
        """Its log file."""

    @property
    def alive(self) -> bool:
        """Whether it still runs."""

    def last_words(self) -> str:
        """The last lines of its log."""

    def stop(self) -> None:
        """Ends it and waits for its end."""


Starter = Callable[[Target, Path, Callable[[str], None]], Sequence[StartedServer]]
"""Starts all servers of a target that has a `serve` block, and waits until they are healthy: takes
the target, the folder for logs and what shows a line. What it has started by itself it ends where
it raises."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server of a target answers.

    Attributes:
        base_url: Its API's root.
        key: Its key; kept out of `repr`.
        place: Its name among the target's endpoints; `""` where it is the only one.
        identity: What it serves, where capgate started it; None where it is asked.
    """

    base_url: str
    key: str | None = field(default=None, repr=False)
    place: str = ""
    identity: Mapping[str, Any] | None = None


def running_at(urls: Sequence[str], key: str | None) -> list[Address]:
    """The addresses of servers that run already, by their URLs; they share a key."""
    if len(urls) == 1:
        return [Address(urls[0], key)]
    return [Address(url, key, place_of(url)) for url in urls]


def started_at(servers: Sequence[Answering]) -> list[Address]:
    """The addresses of servers that were started for a target."""
    return [Address(one.base_url, one.key, one.place, one.identity) for one in servers]


def now_at(then: Sequence[Address], started: Sequence[Answering], base_url: str) -> Address:
    """Where one of a target's servers is now: in a cluster it may be started anew elsewhere.

    Args:
        then: Where the target's servers were when the run began.
        started: The servers in the same order, where the run has started them.
        base_url: Where the server was when the run began.
    """
    number = [one.base_url for one in then].index(base_url)
    return started_at(started)[number] if started else then[number]


def place_of(url: str) -> str:
    """The short name of a server: host and port, and the path where it is not `/v1`."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return f"{parts.netloc}{'' if path == '/v1' else path}"
