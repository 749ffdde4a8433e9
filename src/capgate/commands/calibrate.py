"""`capgate calibrate`: how often does a target contradict itself, and the gate then fail it?

The target answers the same questions twice, the second time in another order and without stored
answers. The answers that differ get random signs and go through the real gate, many times. Each
time that the gate fails them is a false alarm. The exit code is 1 if there are more of them than
the policy allows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from shlex import quote
from typing import Any, Final

from capgate.asking.ask_again import ask_again
from capgate.asking.progress import Count
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.options import (
    add_json,
    add_options,
    one_benchmark,
    output_of,
    settings_of,
)
from capgate.common.answers import Answer
from capgate.common.errors import ConfigError
from capgate.config.option_values import positive
from capgate.config.shown_command import of_benchmark
from capgate.gate.calibration import Calibration, Rate, calibrate, whole_rounds
from capgate.report.data.missing import faults_of
from capgate.report.text.missing_lines import fault_lines
from capgate.run.run import Run
from capgate.run.standalone import local_run

_FAULTS: Final = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    add_options(
        parser,
        without={"--baseline", "--measure", "--fresh", "--published", "--confirm", "--stored"},
    )
    parser.add_argument(
        "--simulations",
        type=positive,
        default=1000,
        metavar="K",
        help="how often the flips are put through the gate (default: 1000)",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Calibrates and prints; returns 1 if there are more false alarms than allowed.

    Raises:
        CapgateError: The target can't be asked.
    """
    settings = settings_of(options)
    benchmark = one_benchmark(settings, "calibrate")
    with local_run(settings) as run:
        if len(run.targets) != 1:
            raise ConfigError(
                f"calibrate asks one target, not {len(run.targets)}",
                remedy="capgate calibrate --model-id ID [--adapter-name NAME]",
            )
        target = next(iter(run.targets))
        policy = run.policy(target)
        first, second = _ask(run, target)
        rounds = whole_rounds(len(first), options.simulations)
        count = Count("the gate on these flips", rounds, "rounds", run.say)
        found = calibrate(
            first,
            second,
            policy,
            population=len(run.questions(target).select(run.asked.groups(target))),
            simulations=options.simulations,
            seed=settings.seed or 0,
            domains=run.benchmark.parents,
            groups=run.asked.has_groups(target),
            step=count.step,
        )
    out = output_of(options)
    if options.json:
        of = {} if benchmark == MMLU else {"benchmark": benchmark}
        out.json({"target": target, **of, **_plain(found)}, indent=2)
    else:
        out.lines(_lines(target, benchmark, found))
        out.lines(f"  {line}" for line in fault_lines(faults_of([*first, *second])[:_FAULTS]))
    return 0 if found.holds else 1


def _ask(run: Run, target: str) -> tuple[list[Answer], list[Answer]]:
    one = run.ready_target(target)
    count = Count(f"{target}, asked twice", 2 * len(run.selection(target)), "answers", run.say)
    first: list[Answer] = []
    for _, results in run.evaluator.answer_each(run.batches(target), [one], count.answer):
        first += results[target].answers
    # All subjects at once: other neighbours in the server's batches, as between two real runs.
    everything = list(run.selection(target))
    again = ask_again(
        run.evaluator, everything, [one], look="repeat", name="all", progress=count.answer
    )[target].answers
    run.evaluator.finish([one])
    second = {answer.question: answer for answer in again}
    return first, [second[answer.question] for answer in first]


def _plain(found: Calibration) -> dict[str, Any]:
    data = asdict(found) | {"holds": found.holds}
    for name in ("changed", "flips", "whole", "quick"):
        data[name]["interval"] = getattr(found, name).interval._asdict()
    return data


def _lines(target: str, benchmark: str, found: Calibration) -> Iterator[str]:
    of = "" if benchmark == MMLU else f", {benchmark}"
    yield f"{target}{of}: {found.n:,} questions, each asked twice"
    if found.errors:
        yield f"  {found.errors:,} more have no answer in one look and are left out"
    yield f"  answered otherwise: {_rate(found.changed)}"
    yield f"  correct only once:  {_rate(found.flips)}: {found.losses} lost, " + (
        f"{found.flips.count - found.losses} gained"
    )
    yield f"  accuracy {found.accuracy_first:.2%}, then {found.accuracy_second:.2%}"
    yield f"false alarms of the gate on these flips ({found.allowed:.1%} are allowed):"
    yield f"  whole benchmark:    {_rate(found.whole)}"
    yield (
        f"  quick:              {_rate(found.quick)}; {found.quick_questions:,.0f} questions on "
        f"average, {found.quick_undecided:.1%} undecided"
    )
    if found.flips.count:
        yield (
            "its answers vary, so one look at it is luck that every later run would share: "
            f"`capgate baseline record {quote(target)}{of_benchmark(benchmark)} --twice` keeps two"
        )
    if found.holds:
        yield "within what is allowed"
        return
    yield "MORE FALSE ALARMS THAN ALLOWED"


def _rate(rate: Rate) -> str:
    low, high, level = rate.interval
    return (
        f"{rate.count:,} of {rate.of:,} ({rate.share:.2%}, {100 * level:.3g} % interval "
        f"{low:.2%} to {high:.2%})"
    )
