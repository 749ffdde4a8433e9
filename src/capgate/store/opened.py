"""A store that is open: its database, and what must not enter it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from capgate.common.redact import Redactor
from capgate.common.text import one_line
from capgate.store.database import Database, Writer
from capgate.store.store_file import StoreFile


def facts_of(text: str) -> dict[str, Any]:
    """The facts that a column of JSON holds.

    Raises:
        ValueError: It holds none, or something else.
        RecursionError: It is nested without end.
    """
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError(f"{one_line(text, limit=60)} should be keys and values")
    return facts


class OpenStore:
    """A connection to a store; closed by leaving its context.

    Args:
        at: The store's file, made with its folder where it is missing; or the open database that
            has the store's tables.
        redactor: Removes what must not be kept; a reader needs none.

    Raises:
        StoreError: It can't be opened, is not a store, or has a newer schema.
    """

    def __init__(self, at: Path | Database, redactor: Redactor | None = None) -> None:
        # Reports, baselines and logs are made from the store, so no secret may enter it.
        self._redactor = redactor or Redactor.of_environment()
        self._database: Database = StoreFile(at) if isinstance(at, Path) else at
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what is held until now, and closes the connection."""
        try:
            self._held.close()
        finally:
            self._database.close()

    @property
    def where(self) -> str:
        """Where the store is, as people may see it."""
        return self._database.where

    @property
    def claim_pause(self) -> float:
        """See `Database`."""
        return self._database.claim_pause

    def reading(self) -> AbstractContextManager[None]:
        """See `Database.reading`."""
        return self._database.reading()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """See `Database.rows`."""
        return self._database.rows(query, values)

    def transaction(self, *, alone: bool = False) -> AbstractContextManager[Writer]:
        """See `Database.transaction`."""
        return self._database.transaction(alone=alone)

    def take_in(self, file: Path) -> None:
        """See `Database.take_in`."""
        self._database.take_in(file)

    def claim(
        self, name: str, *, once: bool = False, waiting: Callable[[], None] = lambda: None
    ) -> AbstractContextManager[None]:
        """See `Database.claim`."""
        return self._database.claim(name, once=once, waiting=waiting)

    def claim_free(self, claims: ExitStack, name: str) -> bool:
        """See `Database.claim_free`."""
        return self._database.claim_free(claims, name)

    def is_claimed(self, name: str) -> bool:
        """See `Database.is_claimed`."""
        return self._database.is_claimed(name)

    def as_json(self, facts: Mapping[str, Any]) -> str:
        """Facts as a column of JSON holds them, without secrets."""
        return json.dumps(self._redactor.data(facts), sort_keys=True)
