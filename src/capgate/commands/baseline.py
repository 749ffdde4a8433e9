"""`capgate baseline`: record, compare, replace and check recorded baselines.

    capgate baseline record my-model              # all benchmarks of its newest whole run
    capgate baseline diff my-model                # what that run would change, and a digest
    capgate baseline diff my-model --benchmark gsm8k
    capgate baseline update my-model --reviewed 3f0c… [--reason "…"]
    capgate baseline lint                         # exit code 1 where anything is found

A baseline is that of one target on one benchmark. `diff` and `update` take MMLU's where no
benchmark is named. `update` writes only the change whose digest `diff` has shown. A change that
lowers the baseline needs a reason, which the file keeps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.baseline_answers import run_to_record, runs_to_record, second_look
from capgate.commands.baseline_file import recorded_baseline, shown_path, write_baseline
from capgate.commands.baseline_findings import worst_first
from capgate.commands.baseline_lint import findings
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.errors import ConfigError
from capgate.common.output import Output
from capgate.config.run_options import FILES
from capgate.config.settings import Settings
from capgate.config.shown_command import of_benchmark
from capgate.config.thresholds import baseline_path, policy_for
from capgate.gate.policy import Policy
from capgate.report.data.result import iso
from capgate.report.text.table_lines import lines_of
from capgate.store.baseline_review import Review, baseline_of, recordable, review
from capgate.store.baselines import Baseline
from capgate.store.open_store import stored
from capgate.store.runs import StoredRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("record", "record a run of the whole benchmark as a new baseline"),
        ("diff", "show what a run would change in the baseline"),
        ("update", "replace the baseline by what diff has shown"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        action.add_argument("target", metavar="TARGET", help="the target's id")
        action.add_argument(
            "--run",
            metavar="RUN",
            dest="of_run",
            help="id as in reports/, latest, or a report.json (default: the target's newest run of "
            "the whole benchmark)",
        )
        action.add_argument(
            "--twice",
            action="store_true",
            help="ask the target every question once more and keep both answers: for servers whose "
            "answers vary (a second look that `capgate calibrate` took is kept without asking)",
        )
        if name != "diff":
            action.add_argument(
                "--reason", default="", metavar="TEXT", help="why it is accepted; kept in the file"
            )
        if name == "update":
            action.add_argument(
                "--reviewed", required=True, metavar="DIGEST", help="the digest that diff has shown"
            )
        action.add_argument(
            "--benchmark",
            dest="capgate_benchmark",
            action="append",
            metavar="NAME",
            help="the benchmark (repeatable; default: all that the run asked)"
            if name == "record"
            else "the benchmark (default: mmlu)",
        )
        _add_common(action)
    lint = actions.add_parser("lint", help="find bars that are dead, faulty or out of date")
    lint.add_argument(
        "--published", type=Path, metavar="FILE", help="check these published scores as well"
    )
    _add_common(lint)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_options(parser, only=FILES)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the action; returns 0, or 1 if `lint` finds anything.

    Raises:
        CapgateError: The run can't be recorded, or was not reviewed.
    """
    settings = settings_of(options)
    if options.action == "lint":
        return _lint(options, settings)
    named: list[str] = options.capgate_benchmark or []
    target, of_run = options.target, options.of_run
    with stored(settings.store) as store:
        if options.action == "record":
            return _record(
                options, settings, runs_to_record(store, settings, target, of_run, named)
            )
        if len(named) > 1:
            raise ConfigError(
                f"{options.action} is of one benchmark, and {len(named)} were named",
                remedy="name them one after the other",
            )
        one = run_to_record(store, settings, target, of_run, named[0] if named else MMLU)
    return {"diff": _diff, "update": _update}[options.action](options, settings, one)


def _policy(settings: Settings, run: StoredRun) -> Policy:
    folder, file = settings.thresholds_dir, settings.policy
    policy = policy_for(folder, run.target, file, root=settings.root)
    return policy.for_benchmark(run.benchmark)


def _record(options: argparse.Namespace, settings: Settings, runs: Sequence[StoredRun]) -> int:
    """Records each run; none where one of them can't be recorded."""
    made: list[tuple[Path, Baseline]] = []
    for run in runs:
        path = baseline_path(settings.thresholds_dir, run.target, run.benchmark)
        if path.exists():
            raise ConfigError(
                f"{shown_path(path, settings)} exists already",
                target=run.target,
                remedy=f"look at what would change: capgate baseline diff {_named(run)}"
                + (", or name other benchmarks with --benchmark" if len(runs) > 1 else ""),
            )
        recordable(run, _policy(settings, run))
    for run in runs:
        path = baseline_path(settings.thresholds_dir, run.target, run.benchmark)
        second = second_look(settings, run, ask=options.twice)
        made.append((path, baseline_of(run, _now(), second=second, reason=options.reason)))
    for path, baseline in made:
        write_baseline(path, baseline)
    _tell(options, settings, made)
    return 0


def _named(run: StoredRun) -> str:
    """What names a run's baseline on a command line."""
    return f"{quote(run.target)}{of_benchmark(run.benchmark)}"


def _diff(options: argparse.Namespace, settings: Settings, run: StoredRun) -> int:
    before = recorded_baseline(settings, run.target, run.benchmark)
    recordable(run, _policy(settings, run), red=True)
    found = review(
        before, baseline_of(run, _now(), second=second_look(settings, run, ask=options.twice))
    )
    out = output_of(options)
    if options.json:
        changed = [asdict(one) for one in found.subjects if one.changed]
        benchmark = {} if run.benchmark == MMLU else {"benchmark": run.benchmark}
        out.json(asdict(found) | benchmark | {"run": run.id, "subjects": changed}, indent=2)
        return 0
    _show_review(out, found, before, run)
    return 0


def _update(options: argparse.Namespace, settings: Settings, run: StoredRun) -> int:
    path, before = (
        baseline_path(settings.thresholds_dir, run.target, run.benchmark),
        recorded_baseline(settings, run.target, run.benchmark),
    )
    recordable(run, _policy(settings, run), red=bool(options.reason.strip()))
    after = baseline_of(
        run,
        _now(),
        second=second_look(settings, run, ask=options.twice),
        reason=options.reason.strip(),
        history=before.history,
    )
    found = review(before, after)
    if options.reviewed != found.digest:
        raise ConfigError(
            f"the change to the run {run.id} is not the one that was reviewed "
            f"({options.reviewed!r})",
            target=run.target,
            remedy=f"look at it: capgate baseline diff {_named(run)} --run {quote(run.id)}",
        )
    if found.lowers and not options.reason.strip():
        raise ConfigError(
            f"the bar would get lower ({'; '.join(found.lowers)})",
            target=run.target,
            remedy="say why it is accepted with --reason; the file keeps it",
        )
    write_baseline(path, after)
    _tell(options, settings, [(path, after)])
    return 0


def _lint(options: argparse.Namespace, settings: Settings) -> int:
    found = worst_first(findings(settings, options.published))
    out = output_of(options)
    if options.json:
        out.json([asdict(one) for one in found], indent=2)
    else:
        for one in found:
            out.line(f"{one.kind}: {one.place}: {one.what}. {one.remedy}.")
        out.line(f"{len(found)} finding{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


def _show_review(out: Output, found: Review, before: Baseline, run: StoredRun) -> None:
    from rich.table import Table

    of = "" if run.benchmark == MMLU else f", {run.benchmark}"
    out.line(f"{found.target}{of}: recorded {before.recorded} from {before.run}  →  run {run.id}")
    for fact in found.facts:
        out.line(f"  {fact}")
    if not found.changed:
        out.line("nothing changes")
        return
    table = Table(box=None)
    table.add_column("subject" if run.benchmark == MMLU else "group", no_wrap=True)
    for name in ("n", "accuracy", "lost", "gained", "other"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.subjects:
        if one.changed:
            n = (
                f"{one.n_before}"
                if one.n_before == one.n_after
                else _arrow(one.n_before, one.n_after)
            )
            rates = _arrow(
                _rate(one.correct_before, one.n_before), _rate(one.correct_after, one.n_after)
            )
            table.add_row(one.subject, n, rates, *map(str, (one.lost, one.gained, one.other)))
    out.lines(lines_of(table))
    for why in found.lowers:
        out.line(f"LOWER: {why}")
    reason = ' --reason "…"' if found.lowers else ""
    out.line(
        f"to accept: capgate baseline update {_named(run)} --run {quote(run.id)} "
        f"--reviewed {found.digest}{reason}"
    )


def _tell(
    options: argparse.Namespace, settings: Settings, made: Sequence[tuple[Path, Baseline]]
) -> None:
    out = output_of(options)
    if options.json:
        facts = [
            {
                "file": shown_path(path, settings),
                **({} if one.benchmark == MMLU else {"benchmark": one.benchmark}),
                "run": one.run,
                "n": one.n,
                "correct": one.correct,
            }
            for path, one in made
        ]
        out.json(facts[0] if len(facts) == 1 else facts)
        return
    for path, one in made:
        where, rate = shown_path(path, settings), _rate(one.correct, one.n)
        out.line(f"{where}: {one.n:,} questions, {rate} correct, from the run {one.run}")
        if one.looks == 2:
            differ = f"{len(one.again):,} answers differ"
            out.line(f"asked twice: {differ}; a verdict must hold by both looks")
    it = "it" if len(made) == 1 else "them"
    out.line(
        f"commit {it}; runs of this target are compared with {it} from now on, unless policy.yaml "
        "names another `reference`"
    )


def _now() -> str:
    return iso(time.time())


def _rate(correct: int, n: int) -> str:
    return f"{correct / n:.1%}" if n else "–"


def _arrow(before: object, after: object) -> str:
    return f"{before} → {after}"
