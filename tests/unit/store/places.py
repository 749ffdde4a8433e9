"""Where a test keeps a store."""

from __future__ import annotations

from contextlib import ExitStack

from capgate.common.redact import Redactor
from capgate.config.store_place import StorePlace
from capgate.store.answer_store import Store
from capgate.store.open_store import open_store


class Place:
    """A place for one store, which is opened as often as a test likes.

    Attributes:
        named: What `--store` names it by.
    """

    def __init__(self, named: str, stack: ExitStack) -> None:
        self.named = named
        self._stack = stack

    def open(self, redactor: Redactor | None = None) -> Store:
        """A connection to the store; it is closed with the test."""
        store = open_store(StorePlace.read(self.named), redactor)
        return self._stack.enter_context(store)
