"""Hashes of weights, which show whether two files or folders hold the same model."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from capgate.common.errors import ConfigError
from capgate.common.user_cache import private_folder

_BLOCK: Final = 1 << 20
_WHOLE_BELOW: Final = 256 << 20
_SAMPLES: Final = 64


def digest(path: Path) -> str:
    """Hash of a weights file, or of all files of a folder: 16 hex digits.

    A file of at most 256 MiB is read completely. For a larger one, its size and 64 blocks of
    1 MiB spread over it are read: retraining changes every block, and to read all of a large
    model would take minutes.
    """
    if path.is_file():
        return _file_hash(path).hexdigest()[:16]
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0".encode())
        total.update(_file_hash(file).digest())
    return total.hexdigest()[:16]


def folder_digest(folder: Path) -> str:
    """Hash of a served model's folder, without its subfolders: 16 hex digits.

    If the sizes and times of all files are unchanged, no file is read again.

    Raises:
        OSError: A file can not be read.
    """
    files = _files(folder)
    facts = [[p.name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for p, s in files]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    kept: Path | None = None
    with suppress(ConfigError, OSError, ValueError):
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:24]
        kept = private_folder("digests") / name
        known, _, found = kept.read_text(encoding="ascii").partition(" ")
        if known == key and found:
            return found
    total = hashlib.sha256()
    for path, _ in files:
        total.update(f"{path.name}\0".encode())
        total.update(_file_hash(path).digest())
    found = total.hexdigest()[:16]
    if kept is not None:
        with suppress(OSError):
            kept.write_text(f"{key} {found}", encoding="ascii")
    return found


def youngest(folder: Path) -> float:
    """When a file of a folder was last written or moved there, Unix seconds.

    Raises:
        OSError: The folder can not be read.
    """
    return max((max(s.st_mtime, s.st_ctime) for _, s in _files(folder)), default=0.0)


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    return [(path, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]


def _file_hash(path: Path) -> hashlib._Hash:
    size = path.stat().st_size
    result = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE_BELOW:
            while block := file.read(_BLOCK):
                result.update(block)
            return result
        step = (size - _BLOCK) // (_SAMPLES - 1)
        for index in range(_SAMPLES):
            file.seek(index * step)
            result.update(file.read(_BLOCK))
    return result
