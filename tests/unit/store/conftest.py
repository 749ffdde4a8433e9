"""Stores of both kinds: what a store does does not depend on the database that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.unit.store.places import Place

from capgate.store.answer_store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The place of a store that is not made yet: a file, and a database."""
    if request.param == "sqlite":
        named = str(tmp_path / "answers.sqlite")
    else:
        server = request.getfixturevalue("postgres")
        named = server.url(server.new_database())
    with ExitStack() as stack:
        yield Place(named, stack)


@pytest.fixture
def store(place: Place) -> Store:
    """An empty store."""
    return place.open()
