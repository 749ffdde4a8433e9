"""Texts as PostgreSQL can hold them: all characters but NUL, which a model may write too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Buffer

_SIGN: Final = "\x1a"
"""What begins a sign for another character; the sign for itself is twice this one."""

_NUL: Final = f"{_SIGN}0"


def writable(text: str) -> str:
    """`text` with a sign in place of each NUL."""
    if "\0" in text or _SIGN in text:
        return text.replace(_SIGN, 2 * _SIGN).replace("\0", _NUL)
    return text


def as_written(text: str) -> str:
    """The text that `writable` made such a text of."""
    if _SIGN not in text:
        return text
    return _SIGN.join(part.replace(_NUL, "\0") for part in text.split(2 * _SIGN))


def keep_every_character(connection: psycopg.Connection[Any]) -> None:
    """Has a connection write and read texts in this way."""
    from psycopg.adapt import Dumper, Loader

    class TextDumper(Dumper):
        oid = connection.adapters.types["text"].oid

        def dump(self, obj: str) -> Buffer | None:
            return writable(obj).encode()

    class TextLoader(Loader):
        def load(self, data: Buffer) -> str:
            return as_written(str(data, "utf-8"))

    connection.adapters.register_dumper(str, TextDumper)
    connection.adapters.register_loader("text", TextLoader)
