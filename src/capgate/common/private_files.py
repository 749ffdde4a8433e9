"""Files and folders for their owner alone: answers and questions may be confidential."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def own_folder(path: Path) -> None:
    """Makes a folder, and those above it that are missing, that nobody else may enter.

    One that is there stays as it is: its owner may share it.

    Raises:
        OSError: It can't be made.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        # Another process may be quicker.
        one.mkdir(mode=0o700, exist_ok=True)
    if not missing and not path.is_dir():
        path.mkdir()


def own_file(path: Path) -> None:
    """Makes an empty file that nobody else may read; one that is there stays as it is.

    Raises:
        OSError: It can't be made.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def mode_beside(path: Path) -> int:
    """The permissions of a file, for the files beside it: a user who shares one shares all."""
    return path.stat().st_mode & 0o666
