"""Opens the store that `--store` names; all that takes the option goes through here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from capgate.common.errors import StoreError
from capgate.common.redact import Redactor
from capgate.config.store_place import StorePlace
from capgate.serving.adapters.shared_leases import SharedLeases
from capgate.store.answer_store import Store
from capgate.store.folder_store import FolderStore
from capgate.store.segments import is_store


def open_store(place: StorePlace, redactor: Redactor | None = None) -> Store:
    """Opens a store; it is made where it is missing.

    Args:
        place: Where it is.
        redactor: Removes what must not be kept; a reader needs none.

    Raises:
        StoreError: It can't be opened, is not a store, or has a newer schema.
    """
    if place.url is not None:
        from capgate.store.postgres.database import PostgresDatabase

        return Store(PostgresDatabase(place.url), redactor)
    assert place.path is not None
    if place.kind == "folder":
        return Store(FolderStore(place.path), redactor)
    return Store(place.path, redactor)


def open_leases(place: StorePlace) -> SharedLeases | None:
    """The leases of adapters that all machines share with a store; None where it keeps none."""
    if place.url is None:
        return None
    from capgate.store.postgres.leases import PostgresLeases

    return PostgresLeases(place.url)


def is_there(place: StorePlace) -> bool:
    """Whether there is a store to read; of a database only opening it can tell."""
    if place.path is None:
        return True
    return is_store(place.path) if place.kind == "folder" else place.path.is_file()


@contextmanager
def stored(place: StorePlace) -> Iterator[Store]:
    """A store that already exists.

    Raises:
        StoreError: There is none, or it can't be opened.
    """
    if not is_there(place):
        raise StoreError(
            f"there is no store of answers {place}",
            remedy="run the benchmark first, or name another one with --store",
        )
    with open_store(place) as store:
        yield store
