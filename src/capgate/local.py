"""A run without pytest, for commands that ask questions by themselves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from capgate.common.output import Output
from capgate.common.redact import Redactor
from capgate.config.settings import OPTIONS, Settings

if TYPE_CHECKING:
    from capgate.serving.endpoint import Endpoint
    from capgate.session import Run

FILES: Final = frozenset({"--output-dir", "--store", "--models-file", "--thresholds-dir"})
"""The options that say where a project's files are."""


USAGE_ERROR: Final = 4
"""pytest's exit code for wrong usage, which every command shares."""


class Parser(argparse.ArgumentParser):
    """A parser whose own faults have the exit code that all wrong usage has."""

    def error(self, message: str) -> NoReturn:
        """Tells of wrong usage and exits."""
        self.print_usage(sys.stderr)
        Output().error(f"{self.prog}: {message}")
        self.exit(USAGE_ERROR)


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


@contextmanager
def local_run(
    settings: Settings, *, further: Sequence[str] = (), run_id: str | None = None
) -> Iterator[Run]:
    """A run in this process; its servers end with it, and then its logs lose what is secret.

    Args:
        settings: The run's settings.
        further: Targets that take part beside those in the settings.
        run_id: A run that is taken up again; a new one where None.

    Raises:
        CapgateError: The targets' file has faults, or a target is unknown.
    """
    from capgate.config.chosen_targets import new_run_id
    from capgate.config.secrets import project_redactor
    from capgate.config.targets import environment
    from capgate.report.sweep import sweep_lines
    from capgate.serving.servers import Servers
    from capgate.session import Run

    run_id = run_id or new_run_id()

    def endpoint(target: str) -> Endpoint:
        return servers.endpoint(target)

    redactor = project_redactor(settings)
    say = Output(lambda: redactor).error
    run = Run(settings, run_id, endpoint=endpoint, say=say, further=further)
    servers = Servers(
        run.participants, environment(settings.root), run.folder / "logs", say=say, look=True
    )
    try:
        yield run
    finally:
        run.close()
        servers.close()
        for line in sweep_lines(run.folder / "logs", redactor):
            say(line)


def output_of(options: argparse.Namespace) -> Output:
    """How a command that has the options of a run writes: its project's secrets are known."""

    def redactor() -> Redactor:
        try:
            from capgate.config.secrets import redactor_for, redactor_of_files
        except ImportError:
            # A package is missing, which is what is to be told.
            return Redactor.of_environment()
        file = getattr(options, "models_file", None)
        return redactor_of_files(file) if file else redactor_for(lambda: settings_of(options))

    return Output(redactor)


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
