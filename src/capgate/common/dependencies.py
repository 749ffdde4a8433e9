"""The packages that a run needs: which, whether they can be imported, and how to install them."""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any, Final

from capgate.common.errors import CapgateError

SHOWN: Final = ("inspect-ai", "inspect-evals", "pytest", "pytest-xdist", "datasets")
"""Packages whose versions are told, as results depend on them."""

_MODULES: Final = ("inspect_ai", "inspect_evals")
"""What asks and reads the questions."""


class PackageError(CapgateError):
    """A package is not there, or can't be imported."""


def check_found() -> None:
    """Makes sure that what questions are asked with is installed; imports nothing.

    Raises:
        PackageError: It is not.
    """
    for name in _MODULES:
        if name not in sys.modules and find_spec(name) is None:
            raise package_error(ModuleNotFoundError(f"No module named {name!r}", name=name))


def check_imports() -> None:
    """Imports what no question can be asked without.

    Raises:
        PackageError: A package can't be imported.
    """
    for name in _MODULES:
        try:
            importlib.import_module(name)
        # A package that is half there may raise anything.
        except Exception as error:
            raise package_error(error, name) from None


def package_error(error: Exception, name: str = "") -> PackageError:
    """What a failed import is told as.

    Args:
        error: What the import raised.
        name: The package, where the error does not name it.
    """
    package = (getattr(error, "name", None) or name or "of capgate's").partition(".")[0]
    return PackageError(
        f"the package {package} can't be imported by {sys.executable}",
        said=f"{type(error).__name__}: {error}",
        remedy=install_remedy(),
    )


def is_missing(error: BaseException) -> bool:
    """Whether an error is another package's failed import, and no fault of capgate's own."""
    name = getattr(error, "name", None) or ""
    return isinstance(error, ImportError) and name.partition(".")[0] != "capgate"


def install_remedy() -> str:
    """How capgate's packages are installed here."""
    if Path("Makefile").is_file() and Path("pyproject.toml").is_file():
        return "make install, then use .venv/bin/python (or `source .venv/bin/activate`)"
    return f"{quote(sys.executable)} -m pip install --upgrade capgate"


def requirements() -> Iterator[tuple[str, Callable[[str], bool], str]]:
    """Each required package's name, what tells whether a version will do, and that in words."""
    for line in _required():
        try:
            from packaging.requirements import Requirement
        except ModuleNotFoundError:
            # Without it no versions are compared; it comes with pytest, so more is missing.
            yield re.split(r"[<>=!~;\[ ]", line, maxsplit=1)[0], bool, ""
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            accepts = partial(requirement.specifier.contains, prereleases=True)
            yield requirement.name, accepts, str(requirement.specifier)


def version(name: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _required() -> list[str]:
    """What capgate requires, by its installed metadata or by the checkout it runs from."""
    try:
        lines = metadata.requires("capgate") or []
    except metadata.PackageNotFoundError:
        file = Path(__file__).parents[3] / "pyproject.toml"
        try:
            lines = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["dependencies"]
        except OSError:
            lines = list(SHOWN)
    return [line for line in lines if "extra ==" not in line]


def package_versions() -> dict[str, Any]:
    """Versions of the packages that a result depends on."""
    names = ("capgate", "inspect-ai", "inspect-evals", "pytest", "datasets")
    return {name: version(name) for name in names}
