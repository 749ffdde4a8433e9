"""`capgate calibrate`: how often does a target contradict itself, and the gate then fail it?

The target answers the same questions twice, the second time in another order and without stored
answers. The answers that differ get random signs and go through the real gate, many times. Each
time that the gate fails them is a false alarm. The exit code is 1 if there are more of them than
the policy allows.

Where the target contradicts itself, it says what that costs in questions and what may remedy it.
`--try-remedy` measures how many of the contradictions are gone when nothing else is asked at the
same time, and of a vLLM server that capgate starts also how many are gone in its
batch-invariant mode.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Final

from capgate.asking.ask_again import ask_again
from capgate.asking.progress import Count
from capgate.commands.calibrate_lines import Noise, as_json, lines_of
from capgate.commands.options import (
    add_json,
    add_options,
    one_benchmark,
    output_of,
    settings_of,
)
from capgate.common.answers import Answer
from capgate.common.errors import CapgateError, ConfigError
from capgate.config.option_values import positive
from capgate.config.settings import Settings
from capgate.config.shown_command import calibrate_command
from capgate.config.targets import VllmServe
from capgate.gate.budget import benchmark_budget
from capgate.gate.calibration import Calibration, calibrate, whole_rounds
from capgate.gate.noise import compare_noise
from capgate.report.data.missing import faults_of
from capgate.report.text.missing_lines import fault_lines
from capgate.run.noise import (
    BATCH_INVARIANT,
    Looks,
    ask_one_at_a_time,
    ask_under_remedy,
    batch_invariant,
    cost_of_flips,
    in_order,
    remedies,
)
from capgate.run.planned_runs import runs_to_plan_by
from capgate.run.planning import discordance_of
from capgate.run.reference import domains_judged
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
    parser.add_argument(
        "--try-remedy",
        action="store_true",
        help="where it contradicts itself, ask twice more, one question at a time, and compare; "
        "vLLM that capgate starts is also started anew with VLLM_BATCH_INVARIANT=1",
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
        asked = run.asked.groups(target)
        population = len(run.questions(target).select(asked))
        found = calibrate(
            first,
            second,
            policy,
            population=population,
            simulations=options.simulations,
            seed=settings.seed or 0,
            domains=run.benchmark.parents,
            groups=run.asked.has_groups(target),
            step=count.step,
        )
        noise = _noise(run, target, (first, second), found, population, remedy=options.try_remedy)
    if noise is not None and options.try_remedy and noise.can_restart:
        noise = _restarted(settings, target, (first, second), noise)
    out = output_of(options)
    if options.json:
        out.json(as_json(target, benchmark, found, noise), indent=2)
    else:
        out.lines(lines_of(target, benchmark, found, noise))
        out.lines(f"  {line}" for line in fault_lines(faults_of([*first, *second])[:_FAULTS]))
    return 0 if found.holds else 1


def _noise(
    run: Run, target: str, looks: Looks, found: Calibration, population: int, *, remedy: bool
) -> Noise | None:
    """What is to be said of a target that contradicts itself; None of one that does not."""
    if not found.changed.count:
        return None
    policy, settings = run.policy(target), run.settings
    entry = run.targets[target]
    parents = domains_judged(policy, run.asked.groups(target), run.benchmark.parents, paired=True)
    budgets = [
        benchmark_budget(
            policy, 1, groups=run.asked.has_groups(target), parents=bool(parents), quick=quick
        )
        for quick in (False, True)
    ]
    earlier = runs_to_plan_by(settings, entry, run.benchmark.name)
    cost = None
    if found.flips.count:
        cost = cost_of_flips(
            found.flips.share,
            discordance_of(*earlier, None),
            policy,
            whole=budgets[0],
            quick=budgets[1],
            population=population,
            seed=settings.seed or 0,
        )
    tried = None
    if remedy:
        tried = compare_noise(looks, in_order(ask_one_at_a_time(run, target), looks[0]))
    server = run.participants[entry.adapter_of or target]
    known = remedies(run.ready_target(target), server, temperature=settings.temperature)
    return Noise(
        cost,
        tuple(known),
        tried,
        calibrate_command(settings.describe()),
        can_restart=isinstance(server.serve, VllmServe) and not batch_invariant(server),
    )


def _restarted(settings: Settings, target: str, looks: Looks, noise: Noise) -> Noise:
    """The same with what vLLM's batch-invariant mode makes of it, on a server started anew."""
    try:
        with local_run(settings, vllm_env={BATCH_INVARIANT: "1"}) as run:
            again = ask_under_remedy(run, run.ready_target(target), f"{BATCH_INVARIANT}=1")
        found = compare_noise(looks, in_order(again, looks[0]))
    except CapgateError as error:
        return replace(noise, batch_invariant_fault=str(error))
    return replace(noise, batch_invariant=found)


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
