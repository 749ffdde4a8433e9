"""Who on this machine still uses an adapter that capgate loaded onto a server.

Each run holds a shared lock on a file named after server and adapter; the operating
system frees it when the run ends, however it ends. Whoever can lock it alone is the last
user.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path
from typing import IO


class Lease:
    """A run's hold on one adapter of one server.

    Args:
        server: The server's base URL.
        adapter: The name under which it serves the adapter.
    """

    def __init__(self, server: str, adapter: str) -> None:
        folder = Path(tempfile.gettempdir()) / f"capgate-leases-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(f"{server}\0{adapter}".encode()).hexdigest()[:24]
        self._path = folder / name
        self._file: IO[str] | None = self._open()

    def _open(self) -> IO[str]:
        while True:
            file = self._path.open("a")
            fcntl.flock(file, fcntl.LOCK_SH)
            # The last user may have removed the file between our opening and locking it.
            if self._path.exists() and os.fstat(file.fileno()).st_ino == self._path.stat().st_ino:
                return file
            file.close()

    def release(self) -> bool:
        """Gives the hold up.

        Returns:
            Whether nobody else holds the adapter, so that it may be unloaded.
        """
        file, self._file = self._file, None
        if file is None:
            return False
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._path.unlink(missing_ok=True)
            return True
