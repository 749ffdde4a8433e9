"""Which runs on this machine use an adapter, and whether capgate loaded it from this machine.

Each run holds a shared lock on a file named after server and adapter; the operating system
frees it when the run's process ends. A run that can lock the file alone is the last user. The
file is empty unless capgate loaded the adapter; then it names the server and the adapter. A
second lock, the gate, lets only one run at a time list, load or unload adapters.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from capgate.common.user_cache import locked, private_folder
from capgate.serving.adapters.shared_leases import Rest, SharedLeases


class Lease:
    """A run's right to use one adapter of one server; it holds the gate until `settle`.

    Args:
        server: The server's base URL.
        adapter: The name under which it serves the adapter.
        shared: The leases of all machines, where something keeps them.

    Raises:
        StoreError: The leases of all machines can't be reached.
    """

    def __init__(self, server: str, adapter: str, shared: SharedLeases | None = None) -> None:
        self._note = json.dumps({"server": server, "adapter": adapter})
        self._path = _path(server, adapter)
        self._gate: IO[bytes] | None = locked(self._gate_path, fcntl.LOCK_EX)
        self._file: IO[bytes] | None = locked(self._path, fcntl.LOCK_SH)
        try:
            self._shared = shared.enter(server, adapter) if shared else None
        except BaseException:
            self.settle()
            raise

    def claim(self) -> None:
        """Records that capgate loads the adapter; called before the request, in case of a kill."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.write(f"{self._note}\n".encode())
            self._file.flush()
        if self._shared is not None:
            self._shared.claim()

    def disclaim(self) -> None:
        """Records that the adapter was not loaded, or not by capgate on this machine."""
        if self._file is not None:
            self._file.truncate(0)
        if self._shared is not None:
            self._shared.disclaim()

    def settle(self) -> None:
        """Lets other runs load and unload."""
        if self._shared is not None:
            self._shared.settle()
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.close()

    @contextmanager
    def ending(self) -> Iterator[bool]:
        """Gives the lease back; other runs wait until the block is left.

        Yields:
            Whether to unload the adapter: capgate loaded it and no other run uses it. If the block
            raises an exception, the adapter stays recorded as loaded.
        """
        file, self._file = self._file, None
        if file is None:
            yield False
            return
        gate, self._gate = self._gate or locked(self._gate_path, fcntl.LOCK_EX), None
        with gate, file, self._leaving() as rest:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if rest.used:
                # Its last run may be on another machine: what loaded it is recorded for all.
                yield False
            else:
                yield rest.loaded or os.fstat(file.fileno()).st_size > 0
                if self._shared is not None:
                    self._shared.disclaim()
            self._path.unlink(missing_ok=True)
            self._gate_path.unlink(missing_ok=True)

    @contextmanager
    def _leaving(self) -> Iterator[Rest]:
        """Gives the lease among all machines back."""
        if self._shared is None:
            yield Rest(used=False, loaded=False)
            return
        try:
            yield self._shared.leave()
        finally:
            self._shared.settle()

    @property
    def _gate_path(self) -> Path:
        return self._path.with_suffix(".gate")


def left_over(server: str) -> list[str]:
    """The adapters that killed runs have left on a server."""
    return [name for name, path in _noted(server) if _free(path)]


def end_left_over(
    server: str, unload: Callable[[str], bool], shared: SharedLeases | None = None
) -> None:
    """Unloads the adapters that killed runs have left on a server.

    Args:
        server: The server's base URL.
        unload: Has the server unload an adapter; returns whether that succeeded.
        shared: The leases of all machines, where something keeps them.

    Raises:
        StoreError: The leases of all machines can't be reached.
    """
    elsewhere = shared.left_over(server) if shared is not None else []
    for name in dict.fromkeys([*elsewhere, *(name for name, _ in _noted(server))]):
        path = _path(server, name)
        gate = path.with_suffix(".gate")
        with (
            suppress(BlockingIOError, _StillLoadedError),
            locked(gate, fcntl.LOCK_EX | fcntl.LOCK_NB),
            locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB) as held,
            shared.ending_left_over(server, name) if shared else nullcontext(True) as free,
        ):
            left = name in elsewhere or os.fstat(held.fileno()).st_size > 0
            if left and not (free and unload(name)):
                raise _StillLoadedError
            path.unlink(missing_ok=True)
            gate.unlink(missing_ok=True)


class _StillLoadedError(Exception):
    """A server did not unload an adapter."""


def _noted(server: str) -> Iterator[tuple[str, Path]]:
    """The adapters that capgate has loaded onto a server: name and lease."""
    for path in sorted(private_folder("leases").iterdir()):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            if note["server"] == server:
                yield str(note["adapter"]), path
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _path(server: str, adapter: str) -> Path:
    name = hashlib.sha256(f"{server}\0{adapter}".encode()).hexdigest()[:24]
    return private_folder("leases") / name


def _free(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
