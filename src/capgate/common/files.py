"""Files that can't be written or read, told in a sentence instead of a traceback."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from capgate.common.errors import CapgateError
from capgate.common.private_files import own_folder

_PIECE: Final = 2**20
"""Characters that are written at once."""

_REMEDIES: Final = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or have the quota raised",
    errno.EFBIG: "the limit of a file's size is reached (ulimit -f)",
    errno.EACCES: "make it readable and writable for this user",
    errno.EPERM: "make it readable and writable for this user",
    errno.EROFS: "the file system is read-only: mount it for writing",
    errno.ENOTDIR: "a file stands where a folder should be: move it away",
    errno.EEXIST: "a file stands where a folder should be: move it away",
    errno.EISDIR: "a folder stands where a file should be: move it away",
    errno.ENOENT: "its folder is gone: something removed it meanwhile",
    errno.ENAMETOOLONG: "its name is too long: take a shorter folder",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EIO: "the disk fails: look at the system's log",
    errno.ELOOP: "its links lead round in a circle: mend them",
    errno.ESTALE: "the network's file system has lost it: mount it again",
}


class FileError(CapgateError):
    """A file or folder can't be written or read, for a reason of the operating system's."""


def is_of_files(error: BaseException) -> bool:
    """Whether an exception is the operating system's word on a file or disk."""
    return isinstance(error, OSError) and error.errno in _REMEDIES


def file_error(error: OSError, what: str = "", *, path: Path | None = None) -> FileError:
    """The fault that an operating system's error means.

    Args:
        error: The error.
        what: What could not be written or read, as a noun; the error's own file by default.
        path: Where it lies, if the error does not say.
    """
    named = error.filename if isinstance(error.filename, str | os.PathLike) else path
    where = str(named) if named is not None else ""
    noun = what or (where if where else "a file")
    at = f" ({where})" if where and where not in noun else ""
    number = error.errno or 0
    return FileError(
        f"{noun}{at} can't be written or read",
        said=error.strerror or str(error),
        remedy=_REMEDIES.get(number, "make it readable and writable")
        + ", or name another place (--output-dir, --store, $TMPDIR)",
    )


@contextmanager
def told_of_files(what: str = "", *, path: Path | None = None) -> Iterator[None]:
    """Turns an operating system's error on a file into its `FileError`.

    Args:
        what: As for `file_error`.
        path: As for `file_error`.

    Raises:
        FileError: A file can't be written or read.
    """
    try:
        yield
    except OSError as error:
        if not is_of_files(error):
            raise
        raise file_error(error, what, path=path) from None


def write_atomically(path: Path, text: str, *, shared: bool = False) -> None:
    """Writes a file so that a reader sees the old one or the new one, never a part.

    Args:
        path: The file.
        text: Its text; a line feed is added where it ends in none.
        shared: For everyone who may read the folder, as files under version control are; else
            for its owner alone.

    Raises:
        OSError: It can't be written.
    """
    if shared:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        own_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            # A report may have hundreds of megabytes: no copy of all of it is made.
            for start in range(0, len(text), _PIECE):
                file.write(text[start : start + _PIECE])
            if not text.endswith("\n"):
                file.write("\n")
        if shared:
            # mkstemp makes the file private.
            umask = os.umask(0)
            os.umask(umask)
            Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
