"""`capgate list-benchmarks`: the benchmarks and suites that a run here can name.

Lists those that capgate ships and those of config/benchmarks.yaml, and says what each can see:
the smallest drop that it would usually show where 5, 10 or 20 % of the two sides' answers differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.questions_file.benchmark import GROUP
from capgate.benchmarks.questions_file.file_rows import read_questions_file
from capgate.commands.checks.benchmark_data import presence
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.errors import CapgateError
from capgate.common.grouping import grouped
from capgate.common.output import Output
from capgate.common.text import one_line
from capgate.config.benchmarks_file import Benchmarks, load_benchmarks
from capgate.config.chosen_benchmarks import chosen_benchmark
from capgate.config.settings import Settings
from capgate.config.thresholds import policy_for
from capgate.gate.budget import benchmark_budget
from capgate.gate.policy import Policy
from capgate.gate.power import DISCORDANCES, visible_drops
from capgate.report.text.table_lines import lines_of
from capgate.store.answer_lengths import mean_lengths

_PIPE_WIDTH: Final = 220
_HUB: Final = "hub"


@dataclass(frozen=True, slots=True)
class Listed:
    """A benchmark's row in the list.

    Attributes:
        name: Its name.
        own: Whether the project's file has it.
        suites: The suites that it belongs to.
        questions: How many are asked; None where only loading them tells.
        groups: How many groups they belong to; None where only loading them tells.
        parents: How many parents the groups belong to.
        runner: What asks them: `direct` or `inspect`; None where only loading the task tells.
        runner_reason: Why it is `inspect`.
        answer_tokens: Tokens of an answer on average, by the newest run in the store, or None.
        max_tokens: The most tokens of an answer.
        here: Whether everything that it needs seems to be on this machine; None where only
            loading it tells.
        missing: What is not.
        remedy: What to do about that.
        catch: The drop that must be caught, as a fraction.
        advisory: Whether it is reported and never decides.
        visible: Discordance to the smallest drop that would usually be seen, as fractions; a drop
            is None where even the largest would not be, and there is no entry where only
            loading tells how many questions are asked.
        description: What it measures.
        note: What to know before one relies on it.
    """

    name: str
    own: bool
    suites: tuple[str, ...]
    questions: int | None
    groups: int | None
    parents: int
    runner: str | None
    runner_reason: str
    answer_tokens: float | None
    max_tokens: int
    here: bool | None
    missing: str
    remedy: str
    catch: float
    advisory: bool
    visible: Mapping[str, float | None]
    description: str
    note: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "--details",
        action="store_true",
        help="load each benchmark whose data is here: its real numbers, its groups, what asks it",
    )
    add_json(parser)
    add_options(
        parser,
        only={
            *("--benchmark", "--suite", "--dataset", "--max-tokens", "--policy"),
            *("--output-dir", "--store", "--thresholds-dir"),
        },
    )


def run(options: argparse.Namespace) -> int:
    """Prints the benchmarks; returns 0.

    Raises:
        ConfigError: A file has faults, or no benchmark or suite has a name that was given.
    """
    settings = settings_of(options)
    known = load_benchmarks(settings.root)
    some = options.capgate_benchmark or options.capgate_suite
    names = settings.benchmarks if some else tuple(known.entries)
    policy = policy_for(settings.thresholds_dir, "", settings.policy, root=settings.root)
    listed = list_benchmarks(
        known, names, settings, policy, together=bool(some), details=options.details
    )
    out = output_of(options)
    if options.json:
        suites = {name: suite.model_dump() for name, suite in known.suites.items()}
        out.json({"benchmarks": [asdict(one) for one in listed], "suites": suites}, indent=2)
    else:
        _print(out, listed, known, policy, "with the others listed" if some else "alone")
    return 0


def list_benchmarks(
    known: Benchmarks,
    names: Sequence[str],
    settings: Settings,
    policy: Policy,
    *,
    together: bool = False,
    details: bool = False,
) -> list[Listed]:
    """The rows of the list.

    Args:
        known: All benchmarks of the project.
        names: Those that are listed.
        settings: Where their questions come from, and the store.
        policy: The policy of the whole project.
        together: Whether one run asks all of them, so that each has a part of the error budget;
            else each has the whole.
        details: Whether to load what is here; takes seconds a benchmark.
    """
    lengths = mean_lengths(settings.store, names)
    listed = []
    for name in names:
        row = _counted(_row(name, known, settings, policy), known.entries[name], settings)
        row = replace(row, answer_tokens=lengths.get(name))
        if details and row.here is not False:
            row = _detailed(row, settings)
        listed.append(row)
    decide = sum(not one.advisory for one in listed) if together else 1
    return [
        replace(one, visible=_visible(one, policy, 1 if one.advisory else decide)) for one in listed
    ]


def _row(name: str, known: Benchmarks, settings: Settings, policy: Policy) -> Listed:
    """What can be told of a benchmark without loading it."""
    entry = known.entries[name]
    source = settings.dataset or _HUB
    found = presence(name, entry, settings, source)
    plain = entry.is_mmlu or entry.questions is not None
    groups = len(entry.known_groups)
    clusters = entry.cluster or entry.cluster_pattern
    return Listed(
        name=name,
        own=name in known.own,
        suites=tuple(one for one, suite in known.suites.items() if name in suite.benchmarks),
        # A folder may hold fewer, and of questions on one text one is asked.
        questions=None if source != _HUB or clusters else entry.size,
        groups=None if entry.group and not groups else groups,
        parents=len(set(entry.parent_of.values())),
        runner="direct" if plain else None,
        runner_reason="",
        answer_tokens=None,
        max_tokens=entry.max_tokens or settings.max_tokens,
        here=found.here,
        missing=found.what,
        remedy=found.remedy,
        catch=policy.for_benchmark(name, entry.catch).catch,
        advisory=policy.is_advisory(name, entry.advisory),
        visible={},
        description=entry.description,
        note=entry.note,
    )


def _detailed(row: Listed, settings: Settings) -> Listed:
    """A row with what loading the benchmark tells."""
    from capgate.asking.inspect_backend.direct_tasks import why_not_direct

    try:
        benchmark = chosen_benchmark(settings, row.name)
        questions = benchmark.load(settings.dataset or _HUB).questions
        reason = why_not_direct(benchmark.task(questions, shard=row.name))
        groups = {question.subject for question in questions} - {row.name}
    except CapgateError as error:
        return replace(row, here=False, missing=error.what, remedy=error.remedy)
    return replace(
        row,
        here=True,
        questions=len(questions),
        groups=len(groups),
        parents=len({benchmark.parents[one] for one in groups & benchmark.parents.keys()}),
        runner="inspect" if reason else "direct",
        runner_reason=reason,
        max_tokens=benchmark.max_tokens,
    )


def _counted(row: Listed, entry: BenchmarkEntry, settings: Settings) -> Listed:
    """A row with what the project's file of questions says, which needs no Inspect."""
    if entry.questions is None or not row.here:
        return row
    try:
        found = read_questions_file(settings.root / entry.questions, entry.group or GROUP)
    except CapgateError as error:
        return replace(row, here=False, missing=error.what, remedy=error.remedy)
    clusters = entry.cluster or entry.cluster_pattern
    number = None if clusters else len(found.rows)
    return replace(row, questions=number, groups=len(found.groups))


def _visible(row: Listed, policy: Policy, decide: int) -> dict[str, float | None]:
    """The smallest drop that is usually seen, by discordance.

    Args:
        row: The benchmark.
        policy: The policy of the whole project.
        decide: How many benchmarks of a run decide, this one among them.
    """
    if not row.questions:
        return {}
    own = policy.for_benchmark(row.name, row.catch)
    grouped, parents = bool(row.groups), bool(row.parents)
    budget = benchmark_budget(own, decide, groups=grouped, parents=parents)
    found = visible_drops(row.questions, own, share=budget.pooled)
    return {f"{discordance:g}": drop for discordance, drop in found.items()}


def _print(
    out: Output, listed: Sequence[Listed], known: Benchmarks, policy: Policy, how: str
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    sees = " / ".join(f"{100 * one:.0f}" for one in DISCORDANCES)
    for name, right in (
        *(("benchmark", False), ("questions", True), ("groups", True), ("runner", False)),
        *(("answer tokens", True), ("data", False), ("catch", True), (f"sees at {sees} %", True)),
        *(("suites", False), ("description", False)),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "description")
    for one in listed:
        table.add_row(*map(out.fit, _cells(one)))
    width = Console().width if sys.stdout.isatty() else _PIPE_WIDTH
    out.lines(lines_of(table, width=width))
    out.lines(_below(listed, known, policy, how))


def _cells(one: Listed) -> Iterator[str]:
    yield f"{one.name}{' (yours)' if one.own else ''}"
    yield "?" if one.questions is None else f"{one.questions:,}"
    parents = f" / {one.parents}" if one.parents else ""
    yield "?" if one.groups is None else f"{one.groups}{parents}" if one.groups else "–"
    yield one.runner or "?"
    yield f"≤ {one.max_tokens:,}" if one.answer_tokens is None else f"{one.answer_tokens:,.0f}"
    yield {True: "here", False: "no", None: "?"}[one.here]
    yield f"{100 * one.catch:g}{' (advisory)' if one.advisory else ''}"
    yield " / ".join(_points(drop) for drop in one.visible.values()) or "?"
    yield ", ".join(one.suites) or "–"
    yield one_line(one.description, limit=120)


def _points(drop: float | None) -> str:
    return "none" if drop is None else f"{100 * drop:.1f}"


def _below(listed: Sequence[Listed], known: Benchmarks, policy: Policy, how: str) -> Iterator[str]:
    """What the table's columns mean, and what to do about what is missing."""
    yield ""
    yield (
        "catch, sees: points of accuracy. A benchmark usually sees a drop of this size where so "
        f"many % of answers differ, if it is asked {how} (false alarm {policy.false_alarm:g} over "
        f"all tests, miss {policy.miss:g}). capgate plan tells the same of a target."
    )
    if any(None in (one.runner, one.questions, one.groups, one.here) for one in listed):
        yield "?: told by --details, which loads what is here"
    blind = [one for one in listed if not decides(one)]
    for one in blind:
        yield (
            f"{one.name} may not decide its catch: where 10 % of answers differ it sees "
            f"{_points(one.visible['0.1'])} points, and {100 * one.catch:g} must be caught"
        )
    for one in listed:
        if one.note:
            yield f"{one.name}: {one_line(one.note, limit=400)}"
    gaps = grouped(
        (one for one in listed if one.here is False), lambda one: (one.missing, one.remedy)
    )
    for (what, remedy), alike in gaps.items():
        names = ", ".join(one.name for one in alike)
        yield f"no data of {names}: {'; '.join(filter(None, (what, remedy)))}"
    for name, suite in known.suites.items():
        quick = " (quick)" if suite.quick else ""
        yield f"--suite {name}{quick}: {', '.join(suite.benchmarks)}"


def decides(one: Listed) -> bool:
    """Whether a benchmark sees its `catch` where a tenth of the answers differ."""
    if one.advisory or not one.visible:
        return True
    seen = one.visible["0.1"]
    return seen is not None and seen <= one.catch
