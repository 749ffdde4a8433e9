"""Facts about installed code, kept in the user's cache for as long as that code stays the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import ConfigError
from capgate.common.files import write_atomically
from capgate.common.user_cache import private_folder

_KEPT: Final = 16
"""Forms of one fact that the cache holds; those that were not used for longest give way."""


def code_fact(
    name: str,
    packages: Sequence[str],
    find: Callable[[], Any],
    *,
    about: str = "",
) -> Any:  # noqa: ANN401
    """A fact about the code of packages: from the cache, or found and put there.

    It is found again after any change of the packages' files, and after packages were installed
    or removed beside them. A cache that can't be used costs time and nothing else.

    Args:
        name: What the fact is, as part of a file's name.
        packages: The importable names of the packages that it depends on. They are not imported.
        find: Finds it; JSON must be able to hold what it returns.
        about: What else it depends on.

    Returns:
        The fact, in the form in which JSON gives it back.
    """
    try:
        path = private_folder("code-facts") / f"{name}-{_key(packages, about)}.json"
    except (ConfigError, OSError):
        return find()
    # A damaged file is written anew.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        fact = json.loads(path.read_text(encoding="utf-8"))["fact"]
        os.utime(path)
        return fact
    text = json.dumps({"fact": find()})
    with contextlib.suppress(OSError):
        write_atomically(path, text)
        _make_room(path.parent, name)
    return json.loads(text)["fact"]


def _key(packages: Sequence[str], about: str) -> str:
    return hashlib.sha256(f"{_state_of(tuple(packages))}{about}".encode()).hexdigest()[:32]


@cache
def _state_of(packages: tuple[str, ...]) -> str:
    """Hash of the sizes and times of the files of packages, and of what is installed beside."""
    found: list[object] = [sys.version]
    for package in packages:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            # Its time changes where anything is installed, removed or replaced there.
            found.append((folder, Path(folder).parent.stat().st_mtime_ns))
            found += sorted(_modules(folder))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _modules(folder: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".py", ".yaml")):
                told = entry.stat()
                yield entry.path, told.st_size, told.st_mtime_ns
            elif entry.name != "__pycache__" and entry.is_dir(follow_symlinks=False):
                yield from _modules(entry.path)


def _make_room(folder: Path, name: str) -> None:
    files = sorted(folder.glob(f"{name}-*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in files[:-_KEPT]:
        path.unlink(missing_ok=True)
