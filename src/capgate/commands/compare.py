"""`capgate compare`: two stored runs, question by question, through the gate.

RUN_A is the reference, RUN_B the candidate; each is an id as in reports/ (or its
beginning), `latest`, or the path of a report.json. They must have asked the same questions with the
same prompt, scorer and generation settings. Runs of several benchmarks get one verdict over all;
each that RUN_A asked must be in RUN_B.

RUN_A and RUN_B may also be logs that another harness wrote: a folder or file of Inspect (.eval,
.json), of lm-evaluation-harness (--log_samples), or of NeMo Evaluator. No model is asked.

The exit code is the verdict's: PASS 0, REGRESSION 1, INCONCLUSIVE 10, ERROR 11.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.compare_lines import show
from capgate.commands.judge_logs import add_log_options, judge_logs, refuse_log_options
from capgate.commands.no_verdict import tell_no_verdict
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.errors import CapgateError, ConfigError
from capgate.config.benchmarks_file import load_benchmarks
from capgate.config.published_scores import load_published, published_file
from capgate.config.run_options import FILES
from capgate.config.settings import Settings
from capgate.config.thresholds import policy_for
from capgate.logs.find import is_log
from capgate.report.data.killed import is_killed, killed_fault
from capgate.report.data.published_beside import CAUTION, beside
from capgate.report.text.published_lines import lines
from capgate.run.compare_stored import ComparedRuns, compare, compare_several
from capgate.run.judge_rows import Rules
from capgate.serving.routes import check_routes, is_routed, routes_of
from capgate.store.answer_store import Store
from capgate.store.open_store import stored
from capgate.store.runs import (
    StoredRun,
    benchmarks_of,
    find_run,
    read_run,
    targets_of,
)

PUBLISHED: Final = Path("published.yaml")
"""Stands for the published scores in force, where `--published` names no file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("reference", metavar="RUN_A", help="the reference's run")
    parser.add_argument("candidate", metavar="RUN_B", nargs="?", help="the candidate's run")
    parser.add_argument(
        "--published",
        metavar="FILE",
        nargs="?",
        type=Path,
        const=PUBLISHED,
        help="show RUN_A beside published scores instead: thresholds/published.yaml, a file of its "
        "form, or a CSV with `Model Name,MMLU` (MMLU alone)",
    )
    parser.add_argument(
        "--allow-routes",
        metavar="A,B",
        help="OpenRouter: compare though other providers answered, for the providers named",
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="ID",
        help="the target to compare; given twice, RUN_A's and RUN_B's (default: the one judged)",
    )
    parser.add_argument(
        "--benchmark",
        dest="capgate_benchmark",
        action="append",
        metavar="NAME",
        help="compare only this benchmark (repeatable; default: all that RUN_A asked)",
    )
    parser.add_argument("--policy", type=Path, metavar="FILE", help="in place of policy.yaml")
    add_options(parser, only=FILES)
    add_log_options(parser)
    add_json(parser, "; lists every flip")


def run(options: argparse.Namespace) -> int:
    """Compares and prints; returns the verdict's exit code."""
    try:
        return _run(options)
    except CapgateError as error:
        form = (lambda verdict: {"verdict": verdict}) if options.json else None
        return tell_no_verdict(output_of(options), error, "suite", form)


def _run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    if options.published is not None:
        return _published(options, settings)
    if options.candidate is None:
        raise ConfigError(
            "RUN_B is missing",
            remedy="name two runs, or show one beside published scores with --published",
        )
    if is_log(options.reference) and is_log(options.candidate):
        return _logs(options, settings)
    refuse_log_options(options)
    named = options.target or [None]
    if len(named) > 2:
        raise ConfigError(
            f"--target was given {len(named)} times",
            remedy="give it once for both runs, or twice: RUN_A's and RUN_B's",
        )
    with stored(settings.store) as store:
        one, other = find_run(store, options.reference), find_run(store, options.candidate)
        asked = benchmarks_of(store, one, named[0]), benchmarks_of(store, other, named[-1])
        names = list(dict.fromkeys(options.capgate_benchmark or asked[0])) or [MMLU]
        runs: dict[str, tuple[StoredRun, StoredRun] | CapgateError] = {}
        for name in names:
            if len(names) > 1 and name in asked[0] and name not in asked[1]:
                runs[name] = ConfigError(
                    f"the run {other} did not ask it",
                    remedy="name the benchmarks to compare with --benchmark",
                )
                continue
            reference = read_run(store, one, named[0], benchmark=name)
            candidate = read_run(store, other, named[-1], benchmark=name)
            _check(store, reference, candidate, options, settings)
            runs[name] = reference, candidate
        left_out = [] if options.capgate_benchmark else [n for n in asked[1] if n not in names]
        found = _compared(runs, options, settings)
        texts = {
            name: store.kept_questions([flip.question for flip in one.flips], benchmark=name)
            for name, one in found.compared.items()
        }
    return show(output_of(options), found, texts, left_out=left_out, json=options.json)


def _logs(options: argparse.Namespace, settings: Settings) -> int:
    """Judges one log by another; prints the verdict and returns its exit code."""
    named = options.target or [""]
    if len(named) > 1:
        raise ConfigError(
            "--target was given twice, and logs are of one model each",
            remedy="give it once, for the policy's overrides of that target",
        )
    folder = settings.thresholds_dir
    policy = policy_for(folder, named[0], options.policy, root=settings.root, others=True)
    entries = load_benchmarks(settings.root).entries
    return judge_logs(options, output_of(options), policy, entries)


def _check(
    store: Store,
    reference: StoredRun,
    candidate: StoredRun,
    options: argparse.Namespace,
    settings: Settings,
) -> None:
    """Makes sure that two runs of a benchmark can be set beside each other.

    Raises:
        CapgateError: They can't.
    """
    for run in (reference, candidate):
        if run.mode == "unfinished" and is_killed(store, run.id, settings.output_dir):
            raise killed_fault(store, run.id)
    if (reference.id, reference.target) == (candidate.id, candidate.target):
        raise ConfigError(
            "the two runs are one and the same",
            remedy="name two runs, or two targets of one: --target A --target B",
        )
    if is_routed(candidate.about["facts"]) and is_routed(reference.about["facts"]):
        ours, theirs = routes_of(candidate.answers), routes_of(reference.answers)
        allowed = (options.allow_routes or "").split(",")
        check_routes(candidate.target, ours, theirs, allowed, whole=True)


def _compared(
    runs: Mapping[str, tuple[StoredRun, StoredRun] | CapgateError],
    options: argparse.Namespace,
    settings: Settings,
) -> ComparedRuns:
    """Has the gate judge the candidate's run by the reference's."""
    there = {name: pair for name, pair in runs.items() if not isinstance(pair, CapgateError)}
    target = next((candidate.target for _, candidate in there.values()), "")
    policy = policy_for(settings.thresholds_dir, target, options.policy, root=settings.root)
    advisory = {name: candidate.advisory for name, (_, candidate) in there.items()}
    entries = load_benchmarks(settings.root).entries
    rules = Rules(policy, entries, tuple(runs), advisory)
    if len(runs) > 1:
        return compare_several(runs, rules)
    ((name, pair),) = there.items()
    one = compare(*pair, rules)
    return ComparedRuns(one.verdict, {name: one}, {})


def _published(options: argparse.Namespace, settings: Settings) -> int:
    """Shows a run beside published scores; returns 0."""
    if options.candidate is not None:
        raise ConfigError(
            "--published shows one run, and two were named",
            remedy="capgate compare RUN --published [FILE]",
        )
    default = options.published == PUBLISHED
    file = published_file(settings.thresholds_dir) if default else options.published
    published = load_published(file, root=settings.root)
    with stored(settings.store) as store:
        run = find_run(store, options.reference)
        runs = [read_run(store, run, name) for name in options.target or targets_of(store, run)]
    found = [
        beside(
            one.target,
            str(one.about["facts"].get("model", "")),
            one.settings["task"],
            one.answers,
            published,
        )
        for one in runs
    ]
    out = output_of(options)
    if options.json:
        rows = [one.to_dict() for one in found]
        unused = [{"place": one.place, "what": one.what} for one in published.faults]
        out.json({"run": run, "published": rows, "unused": unused}, indent=2)
        return 0
    for one in found:
        out.lines(lines(one, published))
    for fault in published.faults:
        out.line(f"not used: {published.path.name}, {fault}")
    out.line(CAUTION)
    return 0
