"""Where pytest finds the suite: in a project's folder `benchmarks`, or in the package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FOLDER: Final = "benchmarks"
"""The folder of a project's tests of capgate."""

PACKAGE: Final = "capgate.pytest_suite"
"""The package that holds the suite's test file."""

MODULE: Final = f"{PACKAGE}.test_capability"
"""The test file, as Python names it."""

_MENTION: Final = re.compile(rb"\bcapgate\b")


def mentions_capgate(path: Path) -> bool:
    """Whether a test file names capgate: its package or its fixture."""
    try:
        return _MENTION.search(path.read_bytes()) is not None
    except OSError:  # pytest tells of it
        return False


def has_own_tests(root: Path) -> bool:
    """Whether a project's folder `benchmarks` holds tests of capgate.

    A project may have a folder of that name for something else.

    Args:
        root: The project's folder.
    """
    return any(mentions_capgate(path) for path in sorted((root / FOLDER).rglob("*.py")))


def suite_arguments(*, own: bool) -> list[str]:
    """Returns pytest's arguments that collect the suite.

    Args:
        own: Whether the project has tests of capgate.
    """
    # A project may have other patterns of test files. To name the file itself would leave the
    # tests' ids without a path.
    return [FOLDER] if own else ["--pyargs", PACKAGE, "-o", "python_files=test_*.py"]
