"""The URL of a PostgreSQL database, which is shown without its password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

_SCHEMES: Final = ("postgresql://", "postgres://")

_USER: Final = re.compile(r"(?<=://)(?P<user>[^/?#]*?):(?P<password>[^/?#]*)@")
_PARAMETER: Final = re.compile(r"[^=]*password=(?P<password>.*)", re.IGNORECASE | re.DOTALL)


class PostgresUrl:
    """Where a PostgreSQL database is, and as whom it is opened; `str` leaves the password out.

    Args:
        text: The URL as libpq reads it: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=…`.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether a text is such a URL."""
        return text.lower().startswith(_SCHEMES)

    @property
    def with_password(self) -> str:
        """The URL as it was given: a secret."""
        return self._text

    @property
    def secrets(self) -> list[str]:
        """The passwords in it, but those that the rest of the URL shows."""
        return [one for one in self._passwords() if one not in str(self)]

    def _passwords(self) -> Iterator[str]:
        place, _, query = self._text.partition("?")
        for found in (_USER.search(place), *map(_PARAMETER.fullmatch, query.split("&"))):
            if found:
                yield from {found["password"], unquote(found["password"])} - {""}

    def __str__(self) -> str:
        place, _, query = self._text.partition("?")
        options = "&".join(one for one in query.split("&") if not _PARAMETER.fullmatch(one))
        return _USER.sub(r"\g<user>@", place) + (f"?{options}" if options else "")

    def __repr__(self) -> str:
        return f"PostgresUrl({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostgresUrl) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
