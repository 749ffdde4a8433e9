"""What commands share: the options of a run, and how they are read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

from capgate.common import exit_codes
from capgate.common.errors import ConfigError
from capgate.common.output import Output
from capgate.common.redact import Redactor
from capgate.config.run_options import OPTIONS
from capgate.config.settings import Settings


class Parser(argparse.ArgumentParser):
    """A parser that ends with the exit code of wrong usage."""

    def error(self, message: str) -> NoReturn:
        """Prints the fault and exits."""
        self.print_usage(sys.stderr)
        Output().error(f"{self.prog}: {message}")
        self.exit(exit_codes.USAGE)


def add_options(
    parser: argparse.ArgumentParser,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
) -> None:
    """Adds the options of a run to a command's parser.

    Args:
        parser: The command's parser.
        only: Flags to add; all where None.
        without: Flags to leave out.
    """
    for option in OPTIONS:
        if (only is None or option.flag in only) and option.flag not in without:
            parser.add_argument(option.flag, dest=option.dest, **option.keywords)


def add_json(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Adds `--json`.

    Args:
        parser: The command's parser.
        note: What its help says beside `for programs`.
    """
    parser.add_argument("--json", action="store_true", help=f"for programs{note}")


def output_of(options: argparse.Namespace) -> Output:
    """The output of a command that has the options of a run; it cuts out the project's secrets."""

    def redactor() -> Redactor:
        try:
            from capgate.config.secrets import redactor_for, redactor_of_files
        except ImportError:
            # A package is missing; the command is about to tell that.
            return Redactor.of_environment()
        file = getattr(options, "models_file", None)
        if file:
            return redactor_of_files(file)
        named = getattr(options, "capgate_models_file", None)
        return redactor_for(lambda: settings_of(options), named)

    return Output(redactor)


def one_benchmark(settings: Settings, command: str) -> str:
    """The benchmark that a command is to ask, which asks one at a time.

    Raises:
        ConfigError: The options name several.
    """
    if len(settings.benchmarks) > 1:
        raise ConfigError(
            f"{command} asks one benchmark at a time, not {len(settings.benchmarks)}: "
            f"{', '.join(settings.benchmarks)}",
            remedy="name one with --benchmark",
        )
    return settings.benchmarks[0]


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings of a command that has the options of a run; those it lacks have their default.

    Raises:
        ConfigError: An option is wrong.
    """
    for option in OPTIONS:
        if not hasattr(options, option.dest):
            switch = option.keywords.get("action") == "store_true"
            setattr(options, option.dest, option.keywords.get("default", False if switch else None))
    return Settings.from_options(options, Path.cwd())
