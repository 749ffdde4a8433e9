"""A pytest session within the test's own process, with capgate as its only plugin."""

from __future__ import annotations

import pytest

# A session within a process forgets what it has imported, and numpy cannot be imported twice.
import capgate.pytest_suite.process  # noqa: F401


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for such sessions."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "capgate.plugin")
    return pytester
