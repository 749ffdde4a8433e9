"""What a store needs of the database that holds its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol


class Outcome(Protocol):
    """What a statement did."""

    @property
    def rowcount(self) -> int:
        """How many rows it has written."""


class Writer(Protocol):
    """Executes the statements of a transaction; values stand for the question marks in them."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Outcome:
        """Executes a statement."""

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Executes a statement once for each row of values."""


class Database(Protocol):
    """A connection to the tables of a store (`capgate.store.tables`), which threads may share.

    Attributes:
        claim_pause: Seconds after which to look again for a claim that another process holds.
    """

    @property
    def claim_pause(self) -> float: ...

    @property
    def where(self) -> str:
        """Where the store is, as people may see it."""

    def reading(self) -> AbstractContextManager[None]:
        """Has what is wrong with stored values told as a fault of the store.

        Raises:
            StoreError: A value can't be understood.
        """

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows that a query finds.

        Raises:
            StoreError: The store can't be read.
        """

    def transaction(self, *, alone: bool = False) -> AbstractContextManager[Writer]:
        """A transaction: everything within is written, or nothing.

        Within another one of this thread it is a part of that.

        Args:
            alone: No other such transaction may run at the same time: what it writes depends on
                what it has read.

        Raises:
            StoreError: The store can't be written.
        """

    def take_in(self, file: Path) -> None:
        """Takes in the rows of another store, all of them or none.

        Args:
            file: A sound store's file of this version.

        Raises:
            sqlite3.Error: It can't be read.
            StoreError: The store can't be written.
        """

    def claim(
        self, name: str, *, once: bool = False, waiting: Callable[[], None] = ...
    ) -> AbstractContextManager[None]:
        """Holds the right to compute `name`; waits while another process holds it.

        Args:
            name: What is claimed.
            once: It is not computed again after this, so that nothing of the claim is kept.
            waiting: Called where the wait takes more than a few seconds.
        """

    def claim_free(self, claims: ExitStack, name: str) -> bool:
        """Adds a claim to others that are held, unless another holds it now.

        Returns:
            Whether it is held.
        """

    def is_claimed(self, name: str) -> bool:
        """Whether a process holds a claim now; of a folder, a process of this machine.

        Raises:
            StoreError: The store can't be read.
        """

    def close(self) -> None:
        """Closes the connection."""
