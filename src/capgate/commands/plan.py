"""`capgate plan`: what a verdict on a target will take, and how small a drop it can show.

No server is asked. Figures come from earlier runs in the store, or else from assumptions, which
are marked ASSUMED. With several benchmarks it says of each whether it can decide its `catch`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.questions import QuestionSet
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.commands.plan_lines import lines_of_one, lines_of_several
from capgate.common import exit_codes
from capgate.common.errors import CapgateError, ReferenceMissingError
from capgate.config.chosen_benchmarks import chosen_benchmark
from capgate.config.chosen_targets import run_targets
from capgate.config.settings import Settings
from capgate.config.targets import Target, connections_of
from capgate.config.thresholds import floor_of, policy_for, reference_choice
from capgate.gate.budget import benchmark_budget
from capgate.gate.policy import Policy
from capgate.gate.two_looks import first_look
from capgate.run.planned_runs import runs_to_plan_by
from capgate.run.planned_suite import Planned, PlannedSuite
from capgate.run.planning import (
    Known,
    Plan,
    answer_assumed,
    by_weight,
    discordance_of,
    plan,
    rates_of,
)
from capgate.run.reference import domains_judged
from capgate.store.answer_lengths import mean_lengths
from capgate.store.runs import StoredRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    add_options(
        parser, without={"--measure", "--measure-missing", "--fresh", "--max-cost", "--stored"}
    )
    parser.add_argument(
        "--discordance",
        type=_share,
        metavar="D",
        help="share of questions on which target and reference differ (default: earlier runs')",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Plans and prints.

    Returns:
        0, or 4 where the questions of one of several benchmarks can't be loaded.

    Raises:
        CapgateError: The target is unknown or has no reference, or the questions of the only
            benchmark can't be loaded.
    """
    settings = settings_of(options)
    targets, others = run_targets(settings)
    out = output_of(options)
    plans = {
        target.id: _plans(
            target, settings, options.discordance, connections_of(target, {**others, **targets})
        )
        for target in targets.values()
    }
    if options.json:
        out.json({target: one.to_dict() for target, one in plans.items()}, indent=2)
        return exit_codes.USAGE if any(one.missing for one in plans.values()) else 0
    for target, suite in plans.items():
        only = suite.only
        out.lines(lines_of_several(target, suite) if only is None else lines_of_one(target, only))
    return exit_codes.USAGE if any(one.missing for one in plans.values()) else 0


def _plans(
    target: Target, settings: Settings, given: float | None, connections: int
) -> PlannedSuite:
    """The plans of all benchmarks for a target."""
    benchmarks = [chosen_benchmark(settings, name) for name in settings.benchmarks]
    whole = policy_for(settings.thresholds_dir, target.id, settings.policy, root=settings.root)
    advisory = {one.name: whole.is_advisory(one.name, one.advisory) for one in benchmarks}
    decide = sum(not aside for aside in advisory.values())
    planned: list[Planned] = []
    for one in benchmarks:
        policy = whole.for_benchmark(one.name, one.catch, parents=one.parents)
        aside = advisory[one.name]
        found: Plan | CapgateError
        try:
            found = _plan(target, one, policy, 1 if aside else decide, settings, given, connections)
        except CapgateError as error:
            if len(benchmarks) == 1 or isinstance(error, ReferenceMissingError):
                raise
            found = error
        planned.append(Planned(one.name, found, policy.catch, aside))
    return PlannedSuite(tuple(planned))


def _plan(
    target: Target,
    benchmark: Benchmark,
    policy: Policy,
    decide: int,
    settings: Settings,
    given: float | None,
    connections: int,
) -> Plan:
    """The plan of one benchmark.

    Args:
        target: The target.
        benchmark: The benchmark.
        policy: Its policy for the target.
        decide: How many benchmarks decide, this one among them.
        settings: The run's settings.
        given: The discordance that the command line names.
        connections: How many requests to the target may be in flight at a time.
    """
    folder = settings.thresholds_dir
    reference = reference_choice(
        policy, target, folder, benchmark=benchmark.name, forced=settings.reference
    )
    floor = None
    if reference not in {"base", "baseline"}:
        floor = floor_of(
            policy,
            target,
            folder,
            settings.published,
            benchmark=benchmark.name,
            root=settings.root,
        ).accuracy
    if reference is None:
        raise ReferenceMissingError("it has nothing to be compared with", target=target.id)
    questions = benchmark.load(settings.dataset or target.dataset)
    mine, siblings = runs_to_plan_by(settings, target, benchmark.name)
    figure = (
        discordance_of(mine, siblings, given) if floor is None else _accuracy(mine, floor, policy)
    )
    groups = settings.subjects if benchmark.name == MMLU else tuple(questions.by_subject)
    chosen = questions.select(groups, settings.limit).by_subject
    sizes = {group: len(asked) for group, asked in chosen.items() if asked}
    paired, parents = floor is None, benchmark.parents
    has_groups = tuple(groups) != (benchmark.name,)
    budget, quick = (
        benchmark_budget(
            policy,
            decide,
            paired=paired,
            groups=has_groups,
            parents=bool(domains_judged(policy, groups, parents, paired=paired)),
            quick=is_quick,
        )
        for is_quick in (False, True)
    )
    if settings.confirm:
        budget = first_look(budget)
    return plan(
        policy,
        budget,
        reference=reference,
        floor=floor,
        figure=figure,
        rates=rates_of(
            [*mine, *siblings],
            _texts(questions),
            connections,
            answer=answer_assumed(
                letters=bool(benchmark.letters),
                max_tokens=benchmark.max_tokens,
                others=mean_lengths(settings.store, {benchmark.name}).get(benchmark.name),
            ),
        ),
        population=len(questions.select(groups)),
        sizes=sizes,
        domains=domains_judged(policy, sizes, parents, paired=paired) if budget.domains else {},
        quick_budget=quick,
        seed=settings.seed or 0,
    )


def _accuracy(runs: list[StoredRun], floor: float, policy: Policy) -> Known:
    for run in by_weight(runs):
        if run.accuracy is not None and run.mode != "unfinished":
            return Known(run.accuracy, f"{len(run.answers):,} questions of the run {run.id}")
    what = f"{100 * policy.catch:g} points above the floor"
    return Known(min(floor + policy.catch, 0.999), what, assumed=True)


def _texts(questions: QuestionSet) -> Iterator[str]:
    for question in questions.questions:
        sample = question.sample
        messages = (
            sample.input
            if isinstance(sample.input, str)
            else "".join(message.text for message in sample.input)
        )
        yield messages + "".join(sample.choices or ())


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a fraction from 0 to 1, got {text!r}")
    return value
