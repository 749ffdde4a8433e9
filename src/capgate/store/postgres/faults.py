"""What can be wrong with a store in PostgreSQL, told with the remedy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from capgate.common.errors import StoreError
from capgate.common.postgres_url import PostgresUrl

if TYPE_CHECKING:
    import psycopg

_PASSWORD: Final = (
    "name its user in the URL, and give the password in PGPASSWORD, in ~/.pgpass or in the URL"
)
_UNREACHED: Final = (
    "start the server, or put right the host and port in --store; what is in the database stays"
)
_RIGHTS: Final = (
    "have the database's owner grant it (docs/scale.md has the statements), or name another user"
)

_BY_CODE: Final = {
    "28P01": _PASSWORD,
    "28000": _PASSWORD,
    "3D000": "make it with createdb, or put right the database's name in --store",
    "42501": _RIGHTS,
    "25006": "name a user, and a server that is no replica, that may write",
    "53100": "make room on the server's disk",
    "53300": "raise the server's max_connections, or start fewer workers: each has two",
}
"""Code of a fault, as PostgreSQL's manual lists them, to its remedy."""

_BY_WORDS: Final = {
    "password": "28P01",
    "does not exist": "3D000",
    "role": "28000",
    "permission denied": "42501",
    "too many": "53300",
}
"""The words of a fault that came before there was a connection, which has no code; English."""


def fault_of_database(url: PostgresUrl, verb: str, error: Exception) -> StoreError:
    """The error that tells a user of a fault.

    Args:
        url: The store.
        verb: What failed, such as `read`.
        error: What the database said, or why a value can't be understood.
    """
    said = str(error)
    for secret in (url.with_password, *url.secrets):
        said = said.replace(secret, "…")
    return StoreError(
        f"the store of answers {url} can't be {verb}", said=said, remedy=_remedy(error, said)
    )


@contextmanager
def told(url: PostgresUrl, verb: str) -> Iterator[None]:
    """Has what the database says told as a fault of the store.

    Raises:
        StoreError: The database refuses something.
    """
    try:
        yield
    except Exception as error:
        # Where psycopg is missing, nothing of it can be raised.
        if (psycopg := sys.modules.get("psycopg")) and isinstance(error, psycopg.Error):
            raise fault_of_database(url, verb, error) from None
        raise


def _remedy(error: Exception, said: str) -> str:
    import psycopg

    if not isinstance(error, psycopg.Error):
        return "it is damaged: name another one with --store; nothing was deleted"
    code = error.sqlstate
    if code is None:
        words = said.lower()
        code = next((code for word, code in _BY_WORDS.items() if word in words), "")
    if code in _BY_CODE:
        return _BY_CODE[code]
    if isinstance(error, psycopg.OperationalError):
        return _UNREACHED
    return "see the server's log, or name another store with --store; nothing was deleted"


def is_passing(error: psycopg.Error) -> bool:
    """Whether the same may succeed at another moment, with a connection of its own."""
    from psycopg import errors

    return isinstance(error, errors.DeadlockDetected | errors.SerializationFailure)
