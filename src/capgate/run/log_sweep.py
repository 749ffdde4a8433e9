"""Secrets are removed from the logs that other programs wrote during a run.

capgate redacts answers and faults before it records them. A server writes its own log, and
Inspect adds to its logs, so both are read once more at the end of the run.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from pydantic_core import from_json

from capgate.common.redact import Redactor

LEFT_OUT: Final = "(left out: something secret stands in it, broken over lines)"

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_COLOUR_IN_JSON: Final = rb"\u001b["
_TEXT = {".log", ".txt", ".json", ".jsonl", ".md", ".xml", ""}


def sweep(folder: Path, redactor: Redactor) -> list[Path]:
    """Redacts the files below `folder` that hold something secret.

    A server that still writes to its log goes on writing to the old file; the new file
    holds what the server wrote until now.

    Returns:
        The files that were rewritten.
    """
    changed: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        if path.suffix == ".eval":
            if _sweep_archive(path, redactor):
                changed.append(path)
        elif path.suffix in _TEXT and _sweep_text(path, redactor):
            changed.append(path)
    return changed


def sweep_lines(folder: Path, redactor: Redactor) -> list[str]:
    """Redacts what a run left in a folder; returns the lines that tell of it."""
    try:
        changed = sweep(folder, redactor)
    except OSError as error:
        return [f"NOT REDACTED: the logs may hold secrets: {error}"]
    logs = "log" if len(changed) == 1 else "logs"
    return [f"redacted: secrets or home folders in {len(changed)} {logs}"] if changed else []


def _sweep_text(path: Path, redactor: Redactor) -> bool:
    before = path.read_bytes()
    after = _redacted(before, redactor)
    if after == before:
        return False
    _replace(path, lambda scratch: scratch.write_bytes(after))
    return True


def _sweep_archive(path: Path, redactor: Redactor) -> bool:
    # Inspect's logs are compressed in a way that the standard library learns from this package.
    import zipfile_zstd  # noqa: F401

    try:
        with ZipFile(path) as archive:
            before = {name: archive.read(name) for name in archive.namelist()}
    except BadZipFile:
        return _sweep_text(path, redactor)  # cut short, or a log in plain JSON
    after = {name: _redacted(data, redactor) for name, data in before.items()}
    if after == before:
        return False

    def write(scratch: Path) -> object:
        with ZipFile(scratch, "w", ZIP_DEFLATED, compresslevel=1) as archive:
            for name, data in after.items():
                archive.writestr(name, data)
        return None

    _replace(path, write)
    return True


def _redacted(data: bytes, redactor: Redactor) -> bytes:
    # Nearly every log is clean, and a whole benchmark's have some hundred megabytes.
    if not redactor.may_change(data) and _COLOUR_IN_JSON not in data:
        return data
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return redactor.text(data.decode("latin-1")).encode("latin-1", "replace")
    if _COLOUR_IN_JSON in data:
        text = _uncoloured(text, redactor)
    if text[:1] in {"{", "["}:
        # A key may be an ordinary word, and even a field's name; a log must stay readable.
        text = redactor.json(text.encode()).decode()
        return redactor.looks(text).encode("utf-8")
    return redactor.text(text).encode("utf-8")


def _uncoloured(text: str, redactor: Redactor) -> str:
    """JSON without colour codes: Inspect colours parts of words, which would hide a secret."""
    try:
        found = from_json(text)
    except ValueError:
        return text
    plain = _plain(found, redactor)
    return text if plain == found else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any, redactor: Redactor) -> Any:  # noqa: ANN401 (any plain JSON value)
    if isinstance(value, dict):
        return {key: _plain(one, redactor) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, redactor) for one in value]
    if not isinstance(value, str) or "\x1b[" not in value:
        return value
    plain = _COLOUR.sub("", value)
    shown = redactor.text(plain)
    # A line is broken where it is full, even within a key.
    whole = shown.replace("\n", "")
    if redactor.text(whole) != whole:
        return LEFT_OUT
    return value if shown == plain else shown


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    scratch = Path(name)
    try:
        write(scratch)
        scratch.chmod(path.stat().st_mode)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
