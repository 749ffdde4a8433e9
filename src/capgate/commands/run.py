"""`capgate run`: the pytest suite as a command.

Runs `pytest benchmarks` with these options; any others are pytest's own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from capgate.commands.options import add_options
from capgate.common.errors import ConfigError
from capgate.config.settings import OPTIONS

_IMPORTED: Final = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
"""pytest, started in our own process, can't rewrite the asserts of what runs already."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "--quick", action="store_true", help="stop as soon as the evidence is in (-m quick)"
    )
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs pytest in this process; returns its exit code.

    Raises:
        ConfigError: There is no `benchmarks` folder here.
    """
    return run_pytest(options, options.rest)


def run_pytest(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Runs the suite.

    Args:
        options: With `quick` and the options of a run.
        rest: Further arguments of pytest.

    Raises:
        ConfigError: There is no `benchmarks` folder here.
    """
    import pytest

    if not Path("benchmarks").is_dir():
        raise ConfigError(
            "there is no folder benchmarks here", remedy="run from the project's root"
        )
    arguments = ["benchmarks", "-m", "quick" if options.quick else "full", "-W", _IMPORTED]
    for option in OPTIONS:
        value = getattr(options, option.dest)
        if value is True:
            arguments.append(option.flag)
        elif isinstance(value, list):
            arguments += [f"{option.flag}={one}" for one in value]
        elif value is not None and value is not False:
            arguments.append(f"{option.flag}={value}")
    sys.stdout.flush()
    return int(pytest.main([*arguments, *rest]))
