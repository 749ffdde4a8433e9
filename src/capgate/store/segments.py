"""The files of a store that machines share as a folder: one for each machine that writes.

A network file system can't hold a SQLite file that several machines have open. A segment is a text
file that one machine alone appends to, so that any other one may read it at any time. Its first
line says which columns its rows have; each further line is a row of a table (`store.tables`).
Ids are global, and which of two rows of one name counts is fixed, so the order of rows and of
segments makes no difference.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import StoreError
from capgate.common.private_files import own_folder
from capgate.store.schema import SCHEMA_VERSION
from capgate.store.tables import TABLE, TABLES

_MARK: Final = "capgate-store.json"
_ENDING: Final = ".jsonl"
_BYTES: Final = "hex"
"""The only key of what stands for bytes, which JSON does not have."""

_AT_A_TIME: Final = 1_000
"""Rows that are written together."""

Row = tuple[str, list[Any]]
"""A table's name and the values of its columns, as the segment's first line names them."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a segment's first line says.

    Attributes:
        schema: The version of the tables.
        of: Table to the columns of its rows.
    """

    schema: int
    of: Mapping[str, Sequence[str]]


def is_store(folder: Path) -> bool:
    """Whether a folder is a store."""
    return (folder / _MARK).is_file()


def folder_id(folder: Path) -> str:
    """The id of a store that is a folder; it is made a store where it is none.

    Raises:
        OSError: The folder can't be made or read.
        ValueError: Its mark is damaged.
    """
    own_folder(folder)
    mark = folder / _MARK
    if not mark.exists():
        new = folder / f".{_MARK}.{secrets.token_hex(6)}"
        _write_new(new, json.dumps({"store": secrets.token_hex(12)}).encode(), folder)
        try:
            # Of machines that come at the same time one makes it.
            with suppress(FileExistsError):
                os.link(new, mark)
        finally:
            new.unlink()
    found = json.loads(mark.read_text(encoding="ascii"))["store"]
    if not isinstance(found, str) or not re.fullmatch(r"[0-9a-f]{24}", found):
        raise ValueError(f"{mark} is damaged")
    return found


def segments(folder: Path) -> dict[str, int]:
    """The segments of a folder, by name, each with its size in bytes.

    Raises:
        OSError: The folder can't be read.
    """
    with os.scandir(folder) as found:
        return {
            one.name: one.stat().st_size
            for one in sorted(found, key=lambda one: one.name)
            if one.name.endswith(_ENDING) and one.is_file()
        }


def begin_segment(folder: Path) -> str:
    """Makes a segment for this machine; returns its name.

    Raises:
        OSError: It can't be made.
    """
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:40] or "host"
    name = f"{host}-{secrets.token_hex(6)}{_ENDING}"
    first = {"capgate": SCHEMA_VERSION, "columns": {one.name: one.columns for one in TABLES}}
    _write_new(folder / name, json.dumps(first).encode() + b"\n", folder)
    return name


def append(file: Path, rows: Iterator[Row], at: int) -> int:
    """Appends rows to a segment; all of them or none.

    Args:
        file: The segment, which no other process writes at this moment.
        rows: The rows, with all columns of today's tables.
        at: Its size.

    Returns:
        Its new size.

    Raises:
        OSError: It can't be written.
    """
    # A network file system passes on what was written as the file is closed.
    with file.open("r+b", buffering=0) as opened:
        opened.seek(at)
        try:
            while some := list(itertools.islice(rows, _AT_A_TIME)):
                left = memoryview(b"".join(map(_line, some)))
                while left:
                    left = left[opened.write(left) :]
            return opened.tell()
        except BaseException:
            with suppress(OSError):
                opened.truncate(at)
            raise


def _line(row: Row) -> bytes:
    return json.dumps(row, default=_of_bytes, separators=(",", ":")).encode() + b"\n"


def cut(file: Path, at: int) -> None:
    """Cuts off the end of a row that its writer was killed in.

    Raises:
        OSError: It can't be written.
    """
    os.truncate(file, at)


def read_columns(file: Path) -> Columns | None:
    """What a segment's first line says; None where it is not written yet.

    Raises:
        StoreError: It is of a newer version, or damaged.
        OSError: It can't be read.
    """
    with file.open("rb") as opened:
        line = opened.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        first = json.loads(line)
        schema, columns = first["capgate"], first["columns"]
        if not isinstance(schema, int):
            raise TypeError("its version should be a number")
        if schema <= SCHEMA_VERSION:
            for table, names in columns.items():
                if not set(TABLE[table].key) <= set(names) <= set(TABLE[table].columns):
                    raise ValueError(f"it has other columns of {table}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(file, 1, error) from None
    if schema > SCHEMA_VERSION:
        raise StoreError(
            f"the part {file} of the store of answers has schema {schema}; this capgate knows "
            f"{SCHEMA_VERSION}",
            remedy="upgrade capgate or name another store with --store; nothing was changed",
        )
    return Columns(schema, columns)


def read_rows(file: Path, columns: Columns, start: int) -> Iterator[tuple[Row, int]]:
    """The rows of a segment from a place on, as far as they are whole.

    Args:
        file: The segment.
        columns: What its first line says.
        start: Where to begin, in bytes.

    Yields:
        Each row, and where the next one begins.

    Raises:
        StoreError: It is damaged.
        OSError: It can't be read.
    """
    with file.open("rb") as opened:
        if start == 0:
            opened.readline()
        else:
            opened.seek(start)
        at = opened.tell()
        for line in opened:
            if not line.endswith(b"\n"):
                return
            try:
                table, values = json.loads(line, object_hook=_bytes_of)
                if len(values) != len(columns.of[table]):
                    raise ValueError(f"it should have {len(columns.of[table])} columns")
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise damaged(file, at, error) from None
            at += len(line)
            yield (table, values), at


def damaged(file: Path, at: int, error: Exception) -> StoreError:
    """The fault of a segment that can't be understood from a byte on."""
    return StoreError(
        f"the part {file} of the store of answers is damaged at byte {at:,}",
        said=str(error),
        remedy="move that file out of the folder, or put a copy of it in its place; nothing was "
        "changed",
    )


def _write_new(file: Path, content: bytes, folder: Path) -> None:
    # A user who lets others write in the folder lets them read what is in it.
    mode = folder.stat().st_mode & 0o666
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(number, "wb") as opened:
        opened.write(content)


def _of_bytes(value: object) -> dict[str, str]:
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} can't be in a store")
    return {_BYTES: value.hex()}


def _bytes_of(found: dict[str, Any]) -> bytes:
    return bytes.fromhex(found[_BYTES])
