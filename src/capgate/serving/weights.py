"""Hashes of weights: whether two files or folders hold the same model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20
_WHOLE_BELOW: Final = 256 << 20
_SAMPLES: Final = 64


def digest(path: Path) -> str:
    """Hash of a weights file, or of all files of a folder: 16 hex digits.

    A file of at most 256 MiB is read whole. Of a larger one, its size and 64 blocks of
    1 MiB spread over it are read: any retraining changes every block, and reading all of
    a large model would take minutes.
    """
    if path.is_file():
        return _file_hash(path).hexdigest()[:16]
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0".encode())
        total.update(_file_hash(file).digest())
    return total.hexdigest()[:16]


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
