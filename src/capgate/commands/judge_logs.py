"""Logs of other harnesses, judged for `capgate decide` and `capgate compare`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Final, TypeVar

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.commands.compare_lines import show
from capgate.common.errors import CapgateError, ConfigError, FileFault
from capgate.common.output import Output
from capgate.common.text import one_line
from capgate.gate.policy import Policy
from capgate.logs.find import find_logs
from capgate.logs.logged import Wanted
from capgate.run.compare_logs import Judging, compare_logs
from capgate.run.judge_rows import Rules

_FLAGS: Final = {
    "metric": "--metric",
    "correct_at": "--correct-at",
    "group": "--group",
    "cluster": "--cluster",
    "common": "--common",
}

_Value = TypeVar("_Value")


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options on logs of other harnesses to a command's parser."""
    logs = parser.add_argument_group("logs of Inspect, lm-evaluation-harness and NeMo Evaluator")
    logs.add_argument(
        "--metric",
        metavar="[TASK=]METRIC",
        action="append",
        help="the metric that counts: acc or `exact_match,FILTER` of lm-evaluation-harness, "
        "SCORER or SCORER/VALUE of Inspect (repeatable; default: the task's main one)",
    )
    logs.add_argument(
        "--correct-at",
        metavar="[TASK=]NUMBER",
        action="append",
        help="the smallest score that counts as right, where scores are numbers (repeatable)",
    )
    logs.add_argument(
        "--group", metavar="KEY", help="Inspect: key of the samples' metadata that holds a group"
    )
    logs.add_argument(
        "--cluster",
        metavar="KEY",
        help="key of what several questions are about, such as a passage; one of them is judged",
    )
    logs.add_argument(
        "--common",
        action="store_true",
        help="judge the questions that both runs were asked in the same way; the rest is counted",
    )


def refuse_log_options(options: argparse.Namespace) -> None:
    """Makes sure that no option on logs is given where none is judged.

    Raises:
        ConfigError: One is.
    """
    given = [flag for name, flag in _FLAGS.items() if getattr(options, name)]
    if given:
        raise ConfigError(
            f"{', '.join(given)} can be used with logs of other harnesses alone",
            remedy="name two logs: the reference's and the candidate's",
        )


def judge_logs(
    options: argparse.Namespace,
    out: Output,
    policy: Policy,
    entries: Mapping[str, BenchmarkEntry],
    *,
    seed: int = 0,
    sequential: bool = False,
) -> int:
    """Judges the candidate's logs by the reference's; prints the verdict, returns its exit code.

    Args:
        options: The command's: `reference`, `candidate`, `capgate_benchmark`, `json` and those of
            `add_log_options`.
        out: How the command writes.
        policy: The target's.
        entries: The benchmarks that the project knows.
        seed: Of the order of questions.
        sequential: Whether answers are looked at batch after batch, until they suffice.

    Raises:
        CapgateError: The logs can't be judged.
    """
    chosen = options.capgate_benchmark
    wanted = Wanted(
        benchmarks=frozenset(chosen) if chosen else None,
        metrics=_by_task(options.metric, "--metric", str),
        correct_at=_by_task(options.correct_at, "--correct-at", _number),
        group=options.group,
        cluster=options.cluster,
    )
    found = []
    faults: list[FileFault] = []
    for path in (options.reference, options.candidate):
        try:
            found.append((path, find_logs(Path(path), wanted, entries)))
        except CapgateError as error:
            faults.append(FileFault(path, str(error)))
            fault = error
    if len(faults) == 1:
        raise fault
    if faults:
        raise ConfigError(
            "neither of the two logs can be judged", faults=faults, remedy="correct both"
        )
    reference, candidate = found
    names = list(dict.fromkeys(chosen or reference[1]))
    named = {*entries, *reference[1], *candidate[1]}
    if others := [one for one in policy.benchmarks if one not in named]:
        out.error(
            f"the policy names {one_line(', '.join(others), limit=200)}, which neither the logs "
            "nor the project's benchmarks have"
        )
    rules = Rules(policy, entries, names)
    judging = Judging(rules, options.common, seed, sequential, wanted)
    compared, texts = compare_logs(reference, candidate, names, judging)
    left_out = (
        [] if options.capgate_benchmark else [one for one in candidate[1] if one not in names]
    )
    return show(out, compared, texts, left_out=left_out, json=options.json)


def _by_task(
    given: list[str] | None, flag: str, read: Callable[[str], _Value]
) -> dict[str, _Value]:
    """Task, or `*` for all, to what an option gives for it; a named task stands before `*`."""
    found: dict[str, _Value] = {}
    for one in given or ():
        task, named, value = one.rpartition("=")
        task = task.strip() if named else "*"
        if not task or not value.strip():
            raise ConfigError(
                f"{flag} {one_line(one, limit=60)} lacks a part", remedy="[TASK=]VALUE"
            )
        if task in found:
            raise ConfigError(f"{flag} was given twice for {task}", remedy="give it once")
        try:
            found[task] = read(value.strip())
        except ValueError as error:
            raise ConfigError(
                f"{flag} {one_line(one, limit=60)!r} gives no number",
                remedy=f"{flag} [TASK=]NUMBER",
            ) from error
    return dict(sorted(found.items(), key=lambda item: item[0] == "*"))


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return number
