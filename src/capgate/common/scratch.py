"""Temporary folders that outlive their process for no longer than until the next run.

A killed process leaves its folder behind. Each holds a lock that ends with its owner, however
that ends; a folder of this user whose lock is free is removed by the next to come.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_PREFIX: Final = "capgate-"
_LOCK: Final = ".lock"
_SOCKET: Final = "broker"
"""What folders of earlier versions held, which had no lock."""


class Scratch:
    """A folder of this process; removed with its content by `close`, or as its context is left.

    Args:
        folder: Where it is made; the system's folder for such files where None.

    Attributes:
        path: The folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        where = folder or tempfile.gettempdir()
        remove_abandoned(Path(where))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where))
        # Locked before it has its name, so that nobody finds it free.
        fresh = self.path / f"{_LOCK}.new"
        self._lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fresh.rename(self.path / _LOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The lock's file: a child that inherits it holds the folder as well."""
        return self._lock

    def close(self) -> None:
        """Removes the folder."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def remove_abandoned(folder: Path | None = None) -> list[Path]:
    """Removes this user's folders whose owners are dead; returns which.

    Args:
        folder: Where they are; the system's folder for such files where None.
    """
    removed = []
    for path in (folder or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and _is_free(path):
                shutil.rmtree(path)
                removed.append(path)
    return removed


def _is_free(path: Path) -> bool:
    """Whether a folder's owner is dead; a folder of another program has no such owner.

    Raises:
        OSError: It is about to be made or removed.
    """
    if (path / _LOCK).is_file():
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True
    if [one.name for one in path.iterdir()] != [_SOCKET] or not (path / _SOCKET).is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(1.0)
        try:
            asked.connect(str(path / _SOCKET))
        except ConnectionRefusedError:
            return True
    return False
