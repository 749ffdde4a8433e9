"""Which runs of all machines use an adapter, where something tells the machines of each other.

The leases of one machine (`capgate.serving.adapters.leases`) are files. Runs on other machines do
not see them; runs that share a database have leases there as well.
"""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of an adapter's use after a run has ended its own.

    Attributes:
        used: Whether another run uses it.
        loaded: Whether capgate has loaded it, from any machine.
    """

    used: bool
    loaded: bool


class SharedLease(Protocol):
    """A run's right to use an adapter; it holds the turn until `settle`.

    A lease whose run is gone, with its machine or without, ends by itself after a while.
    """

    def claim(self) -> None:
        """Records that capgate loads the adapter."""

    def disclaim(self) -> None:
        """Records that capgate has not loaded the adapter, or has unloaded it."""

    def settle(self) -> None:
        """Lets other runs load and unload."""

    def leave(self) -> Rest:
        """Gives the lease back; other runs wait until `settle` is called."""


class SharedLeases(Protocol):
    """The leases of all machines.

    A server's URL stands for the same server on each of them; one of this machine itself
    (`localhost`) is this machine's.
    """

    def enter(self, server: str, adapter: str) -> SharedLease:
        """Waits until no other run loads or unloads an adapter of a server; takes a lease.

        Raises:
            StoreError: The database of the leases can't be reached.
        """

    def left_over(self, server: str) -> list[str]:
        """The adapters that capgate has loaded onto a server and no run uses any more."""

    def ending_left_over(self, server: str, adapter: str) -> AbstractContextManager[bool]:
        """Other runs may not load or unload the adapter meanwhile.

        Yields:
            Whether no run uses it or is about to. If the block ends without an exception then, it
            is recorded that it is loaded no more.
        """

    def close(self) -> None:
        """Gives all leases back."""


def address(server: str) -> str:
    """A server's base URL as a name for it on all machines."""
    parts = urlsplit(server.rstrip("/"))
    host = parts.hostname or ""
    if host in {"localhost", "127.0.0.1", "::1", "0.0.0.0"}:
        host = f"localhost of {platform.node()}"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{host}:{port}{parts.path}"
