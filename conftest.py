"""Switches capgate's plugin on for this checkout, where it is not installed as a package."""

from importlib.metadata import entry_points

import pytest

from capgate.pytest_suite.markers import register_markers
from capgate.pytest_suite.options import add_short_options

_installed = any(point.name == "capgate" for point in entry_points(group="pytest11"))
pytest_plugins = () if _installed else ("capgate.plugin",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the short spellings, which a plugin that comes by a conftest is too late to add."""
    if not _installed:
        add_short_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Has `pytest --markers` show capgate's markers in this checkout."""
    register_markers(config)
