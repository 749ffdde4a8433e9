"""`capgate run`: the pytest suite as a command.

Runs the tests of capgate in the folder `benchmarks`, or, without such tests, the suite that the
package ships. Options that are not listed here are pytest's own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from capgate.commands.options import add_options
from capgate.common.errors import CapgateError
from capgate.config.benchmarks_file import load_benchmarks
from capgate.config.run_options import OPTIONS
from capgate.config.suite import has_own_tests, suite_arguments

_IMPORTED: Final = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
"""pytest, started in our own process, can't rewrite the asserts of what runs already."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    add_mode(parser)
    add_options(parser)


def add_mode(parser: argparse.ArgumentParser) -> None:
    """Adds `--quick` and `--full` to a parser."""
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--quick", action="store_true", help="stop as soon as the evidence is in (-m quick)"
    )
    mode.add_argument(
        "--full",
        action="store_true",
        help="ask whole benchmarks (-m full; the default, but for a suite that means quick runs)",
    )


def run(options: argparse.Namespace) -> int:
    """Runs pytest in this process; returns its exit code."""
    return run_pytest(options, options.rest)


def _means_quick(suite: str | None) -> bool:
    """Whether a suite of benchmarks means quick runs; pytest tells of one that is not there."""
    with suppress(CapgateError):
        return suite is not None and load_benchmarks(Path()).suite_of(suite).quick
    return False


def run_pytest(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Runs the suite.

    Args:
        options: With `quick`, `full` and the options of a run.
        rest: Further arguments of pytest.
    """
    import pytest

    arguments = suite_arguments(own=has_own_tests(Path()))
    quick = options.quick or (not options.full and _means_quick(options.capgate_suite))
    arguments += ["-m", "quick" if quick else "full", "-W", _IMPORTED]
    for option in OPTIONS:
        value = getattr(options, option.dest)
        if value is True:
            arguments.append(option.prefixed)
        elif isinstance(value, list):
            arguments += [f"{option.prefixed}={one}" for one in value]
        elif isinstance(value, tuple):
            arguments.append(f"{option.prefixed}={','.join(value)}")
        elif value is not None and value is not False:
            arguments.append(f"{option.prefixed}={value}")
    sys.stdout.flush()
    return int(pytest.main([*arguments, *rest]))
