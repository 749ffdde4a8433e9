"""What unit tests of several packages share: a real server in a thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.doubles.server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers well until it is scripted."""
    with Server() as running:
        yield running
