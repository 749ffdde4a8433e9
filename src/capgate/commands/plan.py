"""`capgate plan`: what a verdict on a target will take, and how small a drop it can show.

No server is asked. Figures come from earlier runs in the store, or else from assumptions, which
are marked ASSUMED.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Final

from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.subjects import DOMAIN_OF
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.benchmarks.questions import QuestionSet
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.errors import ReferenceMissingError
from capgate.common.grouping import grouped
from capgate.config.chosen_targets import run_targets
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.config.thresholds import floor_of, policy_for, reference_choice
from capgate.gate.policy import Policy
from capgate.gate.two_looks import first_look
from capgate.report.text.table_lines import lines_of
from capgate.run.planning import Effort, Known, Plan, by_weight, discordance_of, plan, rates_of
from capgate.run.reference import domains_judged, whole_budget
from capgate.store.answer_store import Store
from capgate.store.runs import StoredRun, known_targets, runs_of, stored

_LOOKED_AT: Final = 5
"""How many of a target's newest runs, and of its newest whole runs, give figures."""

_FOLDED_FROM: Final = 3
"""More subjects than these with equal figures share a line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    add_options(parser, without={"--measure", "--measure-missing", "--fresh", "--max-cost"})
    parser.add_argument(
        "--discordance",
        type=_share,
        metavar="D",
        help="share of questions on which target and reference differ (default: earlier runs')",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Plans and prints; returns 0.

    Raises:
        CapgateError: The target is unknown, has no reference, or its questions can't be loaded.
    """
    settings = settings_of(options)
    targets, _ = run_targets(settings)
    plans = {target.id: _plan(target, settings, options.discordance) for target in targets.values()}
    out = output_of(options)
    if options.json:
        out.json({target: asdict(one) for target, one in plans.items()}, indent=2)
    else:
        for target, one in plans.items():
            out.lines(_lines(target, one))
    return 0


def _plan(target: Target, settings: Settings, given: float | None) -> Plan:
    folder = settings.thresholds_dir
    policy = policy_for(folder, target.id, settings.policy)
    reference = reference_choice(policy, target, folder, forced=settings.reference)
    floor = None
    if reference not in {"base", "baseline"}:
        floor = floor_of(policy, target, folder, settings.published).accuracy
    if reference is None:
        raise ReferenceMissingError("it has nothing to be compared with", target=target.id)
    shots = mmlu_task(settings.task, settings.max_tokens).shots
    questions = load_questions(settings.dataset or target.dataset, shots=shots)
    mine, siblings = _runs(settings, target)
    figure = (
        discordance_of(mine, siblings, given) if floor is None else _accuracy(mine, floor, policy)
    )
    budget = whole_budget(policy, settings.subjects, DOMAIN_OF, paired=floor is None)
    if settings.confirm:
        budget = first_look(budget)
    chosen = questions.select(settings.subjects, settings.limit).by_subject
    sizes = {subject: len(asked) for subject, asked in chosen.items() if asked}
    return plan(
        policy,
        budget,
        reference=reference,
        floor=floor,
        figure=figure,
        rates=rates_of([*mine, *siblings], _texts(questions), target.max_connections),
        population=len(questions.select(settings.subjects)),
        sizes=sizes,
        domains=domains_judged(policy, sizes, DOMAIN_OF, paired=floor is None)
        if budget.domains
        else {},
        seed=settings.seed or 0,
    )


def _runs(settings: Settings, target: Target) -> tuple[list[StoredRun], list[StoredRun]]:
    """The last runs of a target, and one of each other adapter of its base, newest first."""
    if not settings.store.is_file():
        return [], []
    with stored(settings.store) as store:
        newest = list(islice(runs_of(store, target.id), _LOOKED_AT))
        whole = islice(runs_of(store, target.id, kind="suite"), _LOOKED_AT)
        mine = newest + [run for run in whole if run.id not in {one.id for one in newest}]
        siblings = [
            run
            for other in known_targets(store)
            if other != target.id and target.adapter_of is not None
            for run in _one_of(store, other)
            if run.about.get("model_id") == target.adapter_of and run.about.get("adapter_name")
        ]
    return mine, sorted(siblings, key=lambda run: -run.started)


def _one_of(store: Store, target: str) -> list[StoredRun]:
    """A target's newest whole run, or else its newest."""
    whole = list(islice(runs_of(store, target, kind="suite"), 1))
    return whole or list(islice(runs_of(store, target), 1))


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


def _lines(target: str, found: Plan) -> Iterator[str]:
    paired = found.reference in {"base", "baseline"}
    yield f"{target}, compared with its {found.reference}"
    yield f"  {'discordance' if paired else 'accuracy'} {_known(found.figure, '{:.1%}')}"
    rates = found.rates
    yield f"  a question: {_known(rates.prompt_tokens, '{:.0f} tokens')}"
    yield f"    its answer: {_known(rates.completion_tokens, '{:.0f} tokens')}"
    yield f"    wall time: {_known(rates.seconds, '{:.3f} s')}"
    yield f"    cost: {_known(rates.cost, '${:.6f}') if rates.cost else 'no earlier run tells'}"
    yield "quick (-m quick):"
    for quick in found.quick:
        verdicts = ", ".join(f"{kind} {share:.0%}" for kind, share in quick.verdicts.items())
        yield f"  if {quick.case} ({verdicts}):"
        yield f"    on average      {_effort(quick.mean)}"
        yield f"    nine of ten in  {_effort(quick.q90)}"
    yield f"whole (-m full):    {_effort(found.whole)}"
    yield "  what the store has an answer to costs nothing"
    yield f"  smallest drop usually visible: {_drop(found.visible)}"
    for domain, seen in found.domains.items():
        yield f"    of {domain} alone: {_drop(seen)} ({found.sizes[domain]:,} questions)"
    yield from _by_subject(found)


def _by_subject(found: Plan) -> Iterator[str]:
    """The smallest drop that each subject can show; many equal ones share a line."""
    from rich.table import Table

    alike = grouped(found.subjects, lambda one: (found.sizes[one], _drop(found.subjects[one])))
    if alike:
        yield "  by subject alone:"
    for (size, seen), subjects in alike.items():
        if len(subjects) > _FOLDED_FROM:
            yield f"    {len(subjects)} subjects of {size:,} questions each: {seen}"
    cells = [
        (f"    {subject}", f"{size:,}", seen)
        for (size, seen), subjects in alike.items()
        if len(subjects) <= _FOLDED_FROM
        for subject in subjects
    ]
    table = Table(box=None, show_header=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
    half = -(-len(cells) // 2)
    for at in range(half):
        right = cells[half + at] if half + at < len(cells) else ("", "", "")
        table.add_row(*cells[at], *right)
    yield from lines_of(table) if cells else ()


def _known(known: Known, form: str) -> str:
    source = f"ASSUMED: {known.source}" if known.assumed else known.source
    return f"{form.format(known.value)} ({source})"


def _effort(effort: Effort) -> str:
    minutes, seconds = divmod(round(effort.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    cost = "" if effort.cost is None else f"  ${effort.cost:,.2f}"
    return (
        f"{effort.questions:>7,.0f} questions  {hours}:{minutes:02d}:{seconds:02d}  "
        f"{effort.tokens:,.0f} tokens{cost}"
    )


def _drop(drop: float | None) -> str:
    return "none" if drop is None else f"{100 * drop:.1f} points"


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a fraction from 0 to 1, got {text!r}")
    return value
