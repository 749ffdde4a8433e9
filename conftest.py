"""Switches capgate's plugin on for this checkout, where it is not installed as a package."""

from importlib.metadata import entry_points

_installed = any(point.name == "capgate" for point in entry_points(group="pytest11"))
pytest_plugins = () if _installed else ("capgate.plugin",)
