"""`capgate questions`: a benchmark's questions in a folder, for machines without the hub.

`capgate questions export NAME DIR` loads what `--benchmark NAME` or `--suite NAME` would ask, and
writes it to DIR. Elsewhere `--dataset DIR` reads it back: the same questions, known by the same
hashes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.exported.folder import About, files_of, package_of, write_export
from capgate.benchmarks.exported.task_plan import Registered, TaskPlan, plan_of, spread
from capgate.benchmarks.questions import QuestionSet
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.errors import CapgateError, ConfigError
from capgate.config.benchmarks_file import Benchmarks, load_benchmarks
from capgate.config.chosen_benchmarks import chosen_benchmark
from capgate.config.settings import Settings

_OPTIONS: Final = {"--dataset", "--tasks"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "write a benchmark's questions to a folder, which --dataset takes"
    export = actions.add_parser("export", help=text, description=f"{text.capitalize()}.")
    export.add_argument("name", metavar="NAME", help="a benchmark, or a suite for all of its own")
    export.add_argument("folder", metavar="DIR", type=Path, help="made if missing")
    add_options(export, only=_OPTIONS)
    add_json(export)


def run(options: argparse.Namespace) -> int:
    """Exports; returns 0, or 1 if a benchmark of a suite could not be exported.

    Raises:
        CapgateError: There is no such benchmark, or it can't be exported.
    """
    settings = settings_of(options)
    known = load_benchmarks(settings.root)
    out = output_of(options)
    names = _names(known, options.name)
    written: list[About] = []
    failed: dict[str, CapgateError] = {}
    for name in names:
        try:
            written.append(_export(name, known, settings, options.folder))
        except CapgateError as error:
            if len(names) == 1:
                raise
            failed[name] = error
    if options.json:
        faults = {name: str(fault) for name, fault in failed.items()}
        out.json(
            {"written": [one.model_dump(exclude={"plan"}) for one in written], "failed": faults},
            indent=2,
        )
        return int(bool(failed))
    for one in written:
        rows, _ = files_of(options.folder, one.benchmark)
        out.line(f"{one.benchmark}: {one.questions:,} questions, digest {one.digest}, in {rows}")
    for name, fault in failed.items():
        out.error(f"{name}: {fault}")
    if written:
        out.line(f"Elsewhere, --dataset {options.folder} asks them without the hub.")
    return int(bool(failed))


def _names(known: Benchmarks, name: str) -> tuple[str, ...]:
    if name in known.entries:
        return (name,)
    if name in known.suites:
        return known.suites[name].benchmarks
    # Its message names what is near.
    known.entry_of(name)
    return ()


def _export(name: str, known: Benchmarks, settings: Settings, folder: Path) -> About:
    entry = known.entry_of(name)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", remedy="name a folder")
    benchmark = chosen_benchmark(settings, name)
    questions = benchmark.load(settings.dataset or "hub")
    return write_export(
        folder,
        questions,
        name=name,
        task=benchmark.task_name,
        args=entry.args,
        versions=dict(benchmark.versions),
        plan=None if benchmark.steps is not None else _plan(benchmark, questions),
    )


def _plan(benchmark: Benchmark, questions: QuestionSet) -> TaskPlan:
    from inspect_ai.util import registry_info

    from capgate.asking.inspect_backend.task_record import record_of

    chosen = spread(questions.questions)
    task = benchmark.task(chosen, shard="export")
    record = record_of(benchmark)
    scorers = [
        Registered(name=registry_info(scorer).name, arguments=recorded.options or {})
        for scorer, recorded in zip(task.scorer or [], record.scorers, strict=True)
    ]
    solvers = [Registered(name=step.solver, arguments=step.params) for step in record.steps]
    return plan_of(task, solvers, scorers, package_of(benchmark.task_name))
