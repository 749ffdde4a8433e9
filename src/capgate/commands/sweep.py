"""`capgate sweep`: which of many adapters lost capability?

Each adapter is compared with its base by a quick run; the base is asked each question once. The
policy's `sweep_fdr` bounds the share of unchanged adapters among those that are said to have lost,
however many there are (docs/gate.md). Few adapters are loaded at a time (`max_adapters` of the
base's entry). What was broken off is taken up by the same command, and nothing is asked twice.

Exit codes: 1 if an adapter lost; else 11 if one could not be judged, 10 if nothing can be said of
one. 130 after Ctrl-C, wrong usage 4.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common import exit_codes
from capgate.common.errors import CapgateError, ConfigError
from capgate.common.files import write_atomically
from capgate.common.text import json_text
from capgate.config.adapter_patterns import adapters_named
from capgate.config.chosen_targets import run_targets
from capgate.config.option_values import positive
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.shown_command import sweep_command
from capgate.config.targets import Target, load_targets
from capgate.config.thresholds import policy_for
from capgate.report.page.sweep import render_sweep
from capgate.report.text.sweep_lines import sweep_lines
from capgate.run.ready_targets import OtherWeightsError
from capgate.run.standalone import local_runs
from capgate.run.sweep import Sweep
from capgate.run.sweep_record import SweepRecord, find_unfinished
from capgate.run.swept import SweepResult, Swept
from capgate.store.open_store import is_there, open_store

DATA: Final = "sweep.json"
PAGE: Final = "sweep.html"

_WITHOUT: Final = frozenset(
    {
        *("--adapter-name", "--alert", "--allow-routes", "--baseline", "--confirm"),
        *("--max-cost", "--measure", "--measure-missing", "--published", "--stored"),
    }
)
"""Options of a run that say nothing to a sweep."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "--adapters",
        nargs="+",
        action="extend",
        required=True,
        metavar="PATTERN",
        help="the adapters: folders ('runs/*/checkpoint-*'), names on the server, or entries of "
        "config/models.yaml (repeatable)",
    )
    parser.add_argument(
        "--max-adapters",
        type=positive,
        metavar="N",
        help="adapters that are loaded at a time (default: max_adapters of the base's entry)",
    )
    add_options(parser, without=_WITHOUT)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Sweeps, shows the result and writes it to the run's folder; returns the exit code.

    Raises:
        ConfigError: An option or a file is wrong.
    """
    out, named = output_of(options), adapters_named(options.adapters)
    settings = replace(settings_of(options), adapter_names=named.names, sweep=True)
    if named.note:
        out.error(named.note)
    adapters, base = _targets(settings)
    if settings.seed is None:
        # One order for all adapters, so that they share the base's answers; the same next time.
        seed = int(hashlib.sha256(base.id.encode()).hexdigest()[:8], 16)
        settings = replace(settings, seed=seed)
    try:
        result, interrupted = _sweep(
            settings, adapters, base, options.max_adapters or base.adapter_slots
        )
    except ConfigError:
        raise
    except CapgateError as error:
        out.error(f"ERROR: {error}")
        return exit_codes.ERROR
    page = _write(settings, result)
    if options.json:
        out.json(result.to_dict(), indent=2)
    else:
        out.lines(sweep_lines(result))
        out.line(f"page: {page}")
    return exit_codes.INTERRUPTED if interrupted else result.exit_code


def _targets(settings: Settings) -> tuple[dict[str, Target], Target]:
    """The adapters' targets by id, and their base.

    Raises:
        ConfigError: They have not one base, or a name is unknown.
    """
    if len(settings.model_ids) > 1:
        raise _not_one_base()
    adapters, _ = run_targets(settings)
    bases = {one.adapter_of for one in adapters.values()}
    base = bases.pop() if len(bases) == 1 else None
    if base is None:
        raise _not_one_base()
    return adapters, load_targets(settings.models_file).get(base)


def _not_one_base() -> ConfigError:
    return ConfigError(
        "a sweep has adapters of one base",
        remedy="capgate sweep --model-id BASE --adapters 'runs/*/checkpoint-*'",
    )


def _sweep(
    settings: Settings, adapters: Mapping[str, Target], base: Target, most: int
) -> tuple[SweepResult, bool]:
    """Judges the adapters; returns the result, and whether Ctrl-C ended it."""
    run_id = _unfinished(settings, adapters, base)
    while True:
        begun = local_runs(
            settings, settings.benchmarks, run_id=run_id, one_by_one=True, in_turns=True
        )
        with begun as local:
            first = local.runs.first
            sweep = Sweep(
                local.runs,
                base.id,
                dict(zip(adapters, settings.adapter_names, strict=True)),
                SweepRecord(first.store, first.id, base.id),
                most=most,
                load=local.servers.endpoint,
                release=local.servers.release,
                say=first.say,
            )
            if taken_up := sweep.take_up():
                first.say(
                    f"going on with the sweep {first.id}: {taken_up} of {len(adapters)} adapters "
                    "were judged"
                )
            try:
                sweep.judge()
            except OtherWeightsError:
                if run_id is None:
                    raise
                run_id = None
                continue
            except KeyboardInterrupt:
                return sweep.result(), True
            return sweep.result(), False


def _unfinished(settings: Settings, adapters: Mapping[str, Target], base: Target) -> str | None:
    """A sweep of the same adapters that was broken off; None where there is none."""
    if not is_there(settings.store):
        return None

    def where(one: Swept) -> str:
        return adapters[one.target].path or one.adapter

    policy = policy_for(
        settings.thresholds_dir, base.id, settings.policy, root=settings.root
    ).for_sweep(len(adapters))
    with open_store(settings.store, project_redactor(settings)) as store:
        return find_unfinished(store, base.id, settings.describe(), policy, where)


def _write(settings: Settings, result: SweepResult) -> Path:
    """Writes the result to the run's folder; returns the page's path."""
    folder, redactor = settings.output_dir / result.run, project_redactor(settings)
    write_atomically(folder / DATA, json_text(redactor.data(result.to_dict()), indent=2))
    command = sweep_command(settings.describe())
    write_atomically(folder / PAGE, render_sweep(result, command, redactor))
    page = folder / PAGE
    return page.relative_to(settings.root) if page.is_relative_to(settings.root) else page
