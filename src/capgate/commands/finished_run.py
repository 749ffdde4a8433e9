"""A finished run opened again: its report, its settings, and its servers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from shlex import quote
from typing import Any

from capgate.commands.options import add_options, settings_of
from capgate.common.errors import ConfigError
from capgate.config.run_options import FILES
from capgate.config.settings import Settings
from capgate.report.data.read import find_report, read_report
from capgate.report.data.result import Report, Section
from capgate.run.run import Run
from capgate.run.standalone import local_run
from capgate.store.open_store import is_there, open_store


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Adds RUN and the options that say where a project's files are."""
    parser.add_argument(
        "run_name",
        metavar="RUN",
        help="a run's id (or how it begins), latest, or the path of its folder or report.json",
    )
    add_options(parser, only=FILES)


def add_benchmark_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--benchmark`, for commands about one of a run's benchmarks."""
    parser.add_argument(
        "--benchmark", metavar="NAME", help="only this benchmark, where the run asked several"
    )


def add_redux_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name MMLU-Redux's annotations."""
    parser.add_argument(
        "--redux", metavar="FILE", type=Path, help="MMLU-Redux's annotations: label what they name"
    )
    parser.add_argument(
        "--dataset-dir", metavar="DIR", type=Path, help="MMLU's folder, for annotations by place"
    )


def open_report(options: argparse.Namespace) -> tuple[Report, Path, Settings]:
    """The report that a command was asked for, its folder, and the run's settings.

    Raises:
        ConfigError: There is none, or it can't be read.
    """
    here = settings_of(options)
    path = find_report(options.run_name, here.output_dir, here.store)
    report = read_report(path)
    return report, path.parent, settings_of_run(report.settings, here)


def chosen_sections(report: Report, named: str | None) -> dict[str, Section]:
    """What a run found, by benchmark: all of it, or that on the benchmark named.

    Raises:
        ConfigError: The run did not ask that benchmark.
    """
    sections = report.sections
    if named is None:
        return sections
    if named not in sections:
        raise ConfigError(
            f"the run {report.run} did not ask {named}", remedy=f"it asked {', '.join(sections)}"
        )
    return {named: sections[named]}


@contextmanager
def resumed(report: Report, settings: Settings, benchmark: str | None = None) -> Iterator[Run]:
    """A finished run that can ask its targets' servers; managed servers end with it.

    Args:
        report: Its report.
        settings: Its settings.
        benchmark: The benchmark that is asked; the report's first where None.

    Raises:
        CapgateError: Its store or its targets are no longer there.
    """
    check_store(report, settings)
    asked = replace(settings, benchmarks=(benchmark or report.benchmark,))
    with local_run(asked, run_id=report.run) as run:
        yield run


def check_store(report: Report, settings: Settings) -> None:
    """Makes sure that the store holds a run.

    Raises:
        ConfigError: It does not.
    """
    if is_there(settings.store):
        with open_store(settings.store) as store:
            if report.run in store.run_ids():
                return
    raise ConfigError(
        f"the store {settings.store.name} does not hold the run {report.run}",
        remedy="name the store that it wrote with --store",
    )


def one_target(report: Report, named: str | None) -> str:
    """The target that a command is about; the only judged one where none is named.

    Raises:
        ConfigError: There is no such target in the run, or several.
    """
    sections = report.sections.values()
    known = list(dict.fromkeys(t for section in sections for t in section.targets))
    judged = [t for t in known if any(_is_judged(t, section) for section in sections)]
    targets = judged or known
    if named is None and len(targets) == 1:
        return targets[0]
    if named in known:
        return str(named)
    what = f"the run has no target {named!r}" if named else f"the run has {len(targets)} targets"
    raise ConfigError(what, remedy=f"name one: --target {' or '.join(map(quote, targets)) or '…'}")


def _is_judged(target: str, section: Section) -> bool:
    result = section.targets.get(target)
    return target in section.comparisons or bool(result and result.verdict)


def settings_of_run(recorded: Mapping[str, Any], here: Settings) -> Settings:
    """A run's recorded settings, with the files of this project."""
    names = {field.name for field in fields(Settings)}
    restored: dict[str, Any] = {}
    for name, value in recorded.items():
        # Earlier versions recorded where alerts went. What is asked of a run that asked nothing
        # is asked now.
        if name in names and name not in {"alerts", "stored"}:
            restored[name] = _restored(value)
    return replace(here, **restored)


def _restored(value: object) -> object:
    if isinstance(value, list):
        return tuple(map(_restored, value))
    # Results show a home folder as `~`.
    return str(Path(value).expanduser()) if isinstance(value, str) and value[:2] == "~/" else value
