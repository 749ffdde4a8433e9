"""`capgate triage`: the questions of a run that flipped, each with a label.

Lists the questions that one side answers right and the other does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from capgate.benchmarks.mmlu.known_errors import load_redux
from capgate.benchmarks.mmlu.subjects import MMLU, SUBJECTS
from capgate.benchmarks.recorded import nouns_of
from capgate.commands.finished_run import (
    add_benchmark_option,
    add_redux_options,
    add_run_argument,
    chosen_sections,
    one_target,
    open_report,
    resumed,
)
from capgate.commands.options import add_json, output_of
from capgate.common.errors import ConfigError
from capgate.common.files import FileError
from capgate.common.output import Output
from capgate.common.text import one_line, printable
from capgate.config.option_values import positive
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.report.data.comparison import ALL_LABELS, MEANINGS, Comparison, Flip, Side
from capgate.report.data.flips import relabel
from capgate.report.data.history import FILE
from capgate.report.data.result import Report, Section
from capgate.report.text.advice import headline, reference_name, split_sentence
from capgate.report.text.shown_commands import look_command
from capgate.report.write import redacted, report_of, write_data, write_page
from capgate.run.reask import reask

_SHOWN = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.epilog = "\n".join(
        ["labels, in the order in which they are tried:"]
        + [f"  {label}: {MEANINGS[label]}" for label in ALL_LABELS]
    )
    add_run_argument(parser)
    parser.add_argument("--target", metavar="ID", help="only this target")
    add_benchmark_option(parser)
    parser.add_argument(
        "--subject", "--group", metavar="S", help="only this subject, or group of a benchmark"
    )
    parser.add_argument("--label", metavar="L", choices=ALL_LABELS, help="only this label")
    parser.add_argument("--gains", action="store_true", help="the gained ones as well")
    parser.add_argument(
        "--limit", metavar="N", type=positive, default=_SHOWN, help=f"at most N ({_SHOWN})"
    )
    add_json(parser, ": all of them, in full")
    add_redux_options(parser)
    parser.add_argument(
        "--reask",
        action="store_true",
        help="ask unparsed questions once more with a constrained answer (starts or finds the "
        "servers), and write the run's report anew",
    )


def run(options: argparse.Namespace) -> int:
    """Lists the flips; returns 0.

    Raises:
        CapgateError: There is no such run, or it can't be asked again.
    """
    report, folder, settings = open_report(options)
    if options.reask:
        report = _reasked(report, folder, settings)
    if options.redux is not None:
        report = with_redux(report, options.redux, options.dataset_dir)
    sections = chosen_sections(report, options.benchmark)
    targets = [one_target(report, options.target)] if options.target else _compared(sections)
    found = [
        (target, benchmark, section.comparisons[target])
        for target in targets
        for benchmark, section in sections.items()
        if target in section.comparisons
    ]
    if not found:
        raise ConfigError(
            f"the run {report.run} compared nothing question by question",
            remedy="compare with a base or a recorded baseline; capgate report shows the rest",
        )
    if options.subject is not None:
        _check_group(options.subject, sections)
    out = output_of(options)
    for at, (target, benchmark, comparison) in enumerate(found):
        flips = [
            flip
            for flip in comparison.flips
            if (options.gains or flip.change == "loss")
            and options.subject in (None, flip.subject)
            and options.label in (None, flip.label)
        ]
        if options.json:
            for flip in flips:
                told = flip.model_dump(mode="json")
                out.json(told if benchmark == MMLU else {"benchmark": benchmark, **told})
        else:
            out.lines([""] * bool(at))
            out.lines(_lines(report, target, benchmark, comparison, flips, options.limit))
    return 0


def _compared(sections: Mapping[str, Section]) -> list[str]:
    return list(dict.fromkeys(t for section in sections.values() for t in section.comparisons))


def _check_group(name: str, sections: Mapping[str, Section]) -> None:
    """Makes sure that one of the benchmarks has a group.

    Raises:
        ConfigError: None has.
    """
    groups = {
        group
        for section in sections.values()
        for result in section.targets.values()
        for group in result.subject_details
    }
    known = sorted(groups.union(SUBJECTS) if MMLU in sections else groups)
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.4)
        raise ConfigError(
            f"there is no subject or group {name!r} in {', '.join(sections)}",
            remedy=f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}",
        )


def with_redux(report: Report, file: Path, dataset: Path | None) -> Report:
    """A report with its flips of MMLU labelled by MMLU-Redux's annotations as well.

    Raises:
        ConfigError: The annotations can't be read.
    """
    if report.benchmark != MMLU:
        return report
    if dataset is None:
        sources = (Path(str(r.dataset.get("source", ""))) for r in report.targets.values())
        dataset = next((p.expanduser() for p in sources if p.expanduser().is_dir()), None)
    redux = load_redux(file, dataset)
    comparisons = {name: relabel(one, redux) for name, one in report.comparisons.items()}
    return report.model_copy(update={"comparisons": comparisons})


def _reasked(report: Report, folder: Path, settings: Settings) -> Report:
    """Asks again; writes and returns the new report."""
    redactor = project_redactor(settings)
    out = Output(lambda: redactor)
    for benchmark, section in report.sections.items():
        if not section.comparisons:
            continue
        with resumed(report, settings, benchmark) as run:
            for target in section.comparisons:
                if reason := redactor.text(reask(run, target)):
                    out.line(f"{target}: not asked again: {one_line(reason, limit=300)}")
            again = report_of(run, complete=report.complete)
    # Only the comparisons are new; when the run ended and what it was judged stay as they were.
    report = report.model_copy(
        update={
            "comparisons": again.comparisons,
            "benchmarks": {
                name: section.model_copy(update={"comparisons": again.sections[name].comparisons})
                for name, section in report.benchmarks.items()
            },
        }
    )
    report = redacted(report, redactor)
    try:
        write_data(report, folder)
        write_page(report, folder, settings.output_dir / FILE)
    except OSError as error:
        raise FileError(f"{folder} can't be written", said=str(error)) from None
    return report


def _lines(
    report: Report,
    target: str,
    benchmark: str,
    comparison: Comparison,
    flips: list[Flip],
    limit: int,
) -> list[str]:
    verdict = report.sections[benchmark].targets[target].verdict
    against = reference_name(comparison.reference)
    several = report.benchmarks or benchmark != MMLU
    named = f"{target} [{benchmark}]" if several else target
    lost = headline(named, verdict, nouns=nouns_of(benchmark))
    lines = [f"{lost}; compared with {against}"]
    if comparison.labels:
        lines.append("lost: " + ", ".join(f"{k} {n}" for k, n in comparison.labels.items()))
    lines += [one for one in (split_sentence(comparison.split), comparison.redux or "") if one]
    if comparison.note:
        lines.append(comparison.note)
    lines.append("")
    lines += [_line(flip) for flip in flips[:limit]]
    if len(flips) > limit:
        lines.append(f"… and {len(flips) - limit:,} more (--limit {len(flips)} shows all)")
    if not flips:
        lines.append("no question fits")
    else:
        words = ["--benchmark", benchmark] if report.benchmarks else []
        one = look_command(report, "show", report.run, flips[0].question[:12], *words)
        lines.append(f"one in full: {one}")
    return [printable(line) for line in lines]


def _line(flip: Flip) -> str:
    sign = "-" if flip.change == "loss" else "+"
    sides = f"{_side(flip.reference)} → {_side(flip.candidate)}"
    return (
        f"{sign} {flip.question[:12]}  {flip.subject:<28.28}  {flip.label:<15}  "
        f"key {one_line(flip.key, limit=20)}  {sides:<12}  {one_line(flip.text, limit=60)}"
    )


def _side(side: Side) -> str:
    return one_line(side.choice, limit=20) or side.state.value
