"""`capgate doctor`: is everything there that a run needs?

Every check has a mark, what was found, and the command that repairs it. The exit code is 0 if no
check failed, else 1.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.checks import machine
from capgate.commands.checks.check import Check
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.errors import CapgateError
from capgate.common.output import Output
from capgate.common.scratch import Scratch
from capgate.common.text import printable
from capgate.config.settings import Settings

if TYPE_CHECKING:
    from capgate.config.target import Target
    from capgate.config.targets import Targets

OPTIONS: Final = (
    "--model-id",
    "--adapter-name",
    "--endpoints",
    "--ray",
    "--baseline",
    "--published",
    "--policy",
    "--measure",
    "--measure-missing",
    "--alert",
    "--benchmark",
    "--suite",
    "--tasks",
    "--dataset",
    "--temperature",
    "--max-tokens",
    "--output-dir",
    "--store",
    "--models-file",
    "--thresholds-dir",
)
_MARKS: Final = {"ok": "✓", "failed": "✗", "skipped": "–"}
_WIDTH: Final = 18
_BENCHMARKS: Final = "benchmarks.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    add_options(parser, only=OPTIONS)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Checks and prints; returns 0 if no check failed, else 1.

    Raises:
        ConfigError: An option is wrong.
    """
    settings = settings_of(options)
    out = output_of(options)
    checks: list[Check] = []
    for check in examine(settings):
        checks.append(check)
        if not options.json:
            out.line(_lines(check))
    failed = [check.name for check in checks if check.state == "failed"]
    skipped = sum(check.state == "skipped" for check in checks)
    if options.json:
        rows = [asdict(one) for one in checks]
        out.json({"ok": not failed, "failed": failed, "checks": rows}, indent=2)
    elif failed:
        out.line(f"\n{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
    else:
        aside = f" ({skipped} do not apply)" if skipped else ""
        out.line(f"\nall {len(checks) - skipped} checks passed{aside}")
    return int(bool(failed))


def examine(settings: Settings) -> Iterator[Check]:
    """All checks of a setup, in order.

    Args:
        settings: The settings of a run; the checks tell whether it is possible.
    """
    names = (settings.models_file.name, "target", "key variable", "data set", "thresholds")
    yield machine.python()
    packages = machine.packages()
    yield packages
    if packages.state == "failed":
        early = ("pytest plugin", ".env", _BENCHMARKS)
        yield from machine.rest_skipped(iter((*early, *names)), "packages failed")
        yield machine.clock()
        return
    yield machine.plugin()
    # python-dotenv would warn at each reading; the check of .env tells the same once.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    yield machine.dotenv(settings.root)
    yield _benchmarks_file(settings)
    found: list[Targets] = []
    yield machine.models_file(settings, found)
    if found:
        yield from _target_checks(settings, found[0])
    else:
        yield from machine.rest_skipped(iter(names[1:]), f"{names[0]} failed")
    yield machine.alerts(settings)
    yield machine.reports(settings)
    yield machine.clock()


def _benchmarks_file(settings: Settings) -> Check:
    from capgate.commands.checks.benchmark_data import benchmarks_file

    return benchmarks_file(settings)


def _questions_checks(settings: Settings, target: Target) -> Iterator[Check]:
    """Whether the questions of each chosen benchmark can be loaded."""
    from capgate.commands.checks.benchmark_data import questions

    for name in settings.benchmarks:
        if name == MMLU:
            yield machine.dataset(settings, target)
        else:
            yield questions(settings, settings.dataset or target.dataset, name)


def _target_checks(settings: Settings, targets: Targets) -> Iterator[Check]:
    from capgate.commands.checks import server
    from capgate.config.chosen_targets import run_targets
    from capgate.config.secrets import project_redactor
    from capgate.config.targets import environment
    from capgate.run.run import Run
    from capgate.serving.servers import Servers

    known = environment(settings.root)
    say = Output(lambda: project_redactor(settings)).error
    try:
        chosen, others = run_targets(settings)
    except CapgateError as error:
        yield Check("target", "failed", error.what, error.remedy)
        yield from machine.rest_skipped(
            iter(("key variable", "data set", "thresholds", *server.NAMES)), "target failed"
        )
        return
    for target in chosen.values():
        base = others[target.adapter_of] if target.adapter_of else target
        yield Check("target", "ok", f"{target.id}: {target.description or target.served_name}")
        key = machine.keys(target, base, targets, known)
        yield key
        data = []
        for check in _questions_checks(settings, target):
            data.append(check)
            yield check
        bars = machine.thresholds(settings, target)
        yield bars
        failed = [check.name for check in (key, *data, bars) if check.state == "failed"]
        if failed:
            yield from machine.rest_skipped(iter(server.NAMES), f"{failed[0]} failed")
            continue
        with Scratch() as scratch:
            own = server.temporary(settings, scratch.path)
            servers = Servers(
                {**others, **chosen},
                known,
                scratch.path / "logs",
                say=say,
                # Nothing else shows whether several servers serve the same weights.
                observe_weights=bool(settings.ray) or max(len(base.urls), base.replicas) > 1,
                ray=settings.ray,
            )
            run = Run(own, "doctor", endpoint=servers.endpoint)
            try:
                yield from server.ServerCheckup(own, target, base, run, servers, known).checks()
            finally:
                run.close()
                servers.close()


def _lines(check: Check) -> str:
    indent = " " * (_WIDTH + 3)
    finding = printable(check.finding).replace("\n", f"\n{indent}")
    line = f"{_MARKS[check.state]} {check.name:<{_WIDTH}} {finding}"
    remedy = printable(check.remedy).replace("\n", f"\n{indent}")
    return f"{line}\n{indent}→ {remedy}" if remedy else line
