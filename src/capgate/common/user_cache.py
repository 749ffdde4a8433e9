"""Files of this user alone, and locks on them that end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from capgate.common.errors import ConfigError


def private_folder(name: str) -> Path:
    """A folder of the user's cache that nobody else may enter; made where it is missing.

    Raises:
        ConfigError: It can't be made.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = cache / "capgate" / name
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"the cache folder {path} can't be used",
            said=str(error),
            remedy="set XDG_CACHE_HOME to a folder of yours",
        ) from None
    return path


def local_folder(name: str) -> Path:
    """A folder of this user on this machine's own disk that nobody else may enter.

    A home folder may lie on a network file system, and SQLite's files may not.

    Raises:
        OSError: It can't be made, or another user has made one of that name.
    """
    path = Path(tempfile.gettempdir()) / f"capgate-{os.getuid()}"
    for one in (path, path / name):
        with suppress(FileExistsError):
            one.mkdir(mode=0o700)
        found = one.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{one} is another user's")
        one.chmod(0o700)
    return path / name


def locked(path: Path, how: int) -> IO[bytes]:
    """Opens a file, made where it is missing, and waits for a lock on it.

    Args:
        path: The file; a process that holds it exclusively may remove it.
        how: `fcntl.LOCK_SH` or `fcntl.LOCK_EX`.
    """
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, how)
            # Its last holder may have removed it between our opening and locking it.
            if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()
