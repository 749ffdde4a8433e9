"""`capgate compare`: two stored runs, question by question, through the gate.

RUN_A is the reference, RUN_B the candidate; each is an id as in reports/ (or its
beginning), `latest`, or the path of a report.json. They must have asked the same questions with the
same prompt, scorer and generation settings. The exit code is the verdict's: PASS 0, REGRESSION 1,
INCONCLUSIVE 10, ERROR 11.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from capgate.commands.no_verdict import tell_no_verdict
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.answers import Answer
from capgate.common.errors import CapgateError, ConfigError
from capgate.common.text import one_line, printable
from capgate.config.published_scores import load_published, published_file
from capgate.config.run_options import FILES
from capgate.config.settings import Settings
from capgate.config.thresholds import policy_for
from capgate.report.data.killed import is_killed, killed_fault
from capgate.report.data.published_beside import CAUTION, beside
from capgate.report.text.published_lines import lines
from capgate.report.text.table_lines import lines_of
from capgate.report.text.terminal import verdict_lines
from capgate.run.compare_stored import Compared, Flip, GroupRow, compare
from capgate.serving.routes import check_routes, is_routed, routes_of
from capgate.store.kept import KeptQuestion
from capgate.store.runs import find_run, read_run, stored, targets_of

PUBLISHED: Final = Path("published.yaml")
"""Stands for the published scores in force, where `--published` names no file."""

_SHOWN: Final = 20


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
        "form, or a CSV with `Model Name,MMLU`",
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
    parser.add_argument("--policy", type=Path, metavar="FILE", help="in place of policy.yaml")
    add_options(parser, only=FILES)
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
    named = options.target or [None]
    if len(named) > 2:
        raise ConfigError(
            f"--target was given {len(named)} times",
            remedy="give it once for both runs, or twice: RUN_A's and RUN_B's",
        )
    with stored(settings.store) as store:
        one, other = find_run(store, options.reference), find_run(store, options.candidate)
        reference, candidate = read_run(store, one, named[0]), read_run(store, other, named[-1])
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
        policy = policy_for(
            settings.thresholds_dir, candidate.target, options.policy, root=settings.root
        )
        compared = compare(reference, candidate, policy, parents=candidate.parents)
        texts = store.kept_questions([flip.question for flip in compared.flips])
    out = output_of(options)
    if options.json:
        out.json(_plain(compared, texts), indent=2)
    else:
        out.lines(_lines(compared, texts))
    return compared.verdict.exit_code


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


def _plain(compared: Compared, texts: Mapping[str, KeptQuestion]) -> dict[str, Any]:
    sides = {
        name: {"run": run.id, "target": run.target, "accuracy": run.accuracy}
        for name, run in (("reference", compared.reference), ("candidate", compared.candidate))
    }
    return {
        "verdict": compared.verdict.to_dict(),
        **sides,
        "differ": compared.differ,
        "subjects": [_plain_row("subject", row) for row in compared.subjects],
        "domains": [_plain_row("domain", row) for row in compared.domains],
        "flips": [_plain_flip(flip, texts) for flip in compared.flips],
    }


def _plain_row(what: str, row: GroupRow) -> dict[str, Any]:
    fields = asdict(row)
    return {what: fields.pop("name"), **fields}


def _plain_flip(flip: Flip, texts: Mapping[str, KeptQuestion]) -> dict[str, Any]:
    kept = texts.get(flip.question)
    return {
        "question": flip.question,
        "subject": flip.subject,
        "change": flip.change,
        "reference": _plain_answer(flip.reference),
        "candidate": _plain_answer(flip.candidate),
        "text": kept.text if kept else None,
        "choices": list(kept.choices) if kept else None,
        "key": kept.key if kept else None,
    }


def _plain_answer(answer: Answer) -> dict[str, str]:
    return {"state": answer.state.value, "choice": answer.choice, "text": answer.text}


def _lines(compared: Compared, texts: Mapping[str, KeptQuestion]) -> Iterator[str]:
    one, other = compared.reference, compared.candidate
    yield f"A: {one.id}  {one.target}   B: {other.id}  {other.target}"
    if compared.differ:
        yield printable(f"   differ in {compared.differ}")
    yield from _table(compared)
    yield from verdict_lines(compared.verdict)
    flips = compared.flips
    if flips:
        yield f"{len(flips)} flips:"
    for flip in flips[:_SHOWN]:
        yield _flip(flip, texts.get(flip.question))
    if len(flips) > _SHOWN:
        yield f"  … and {len(flips) - _SHOWN} more (--json lists all)"


def _table(compared: Compared) -> list[str]:
    from rich.table import Table

    table = Table(box=None)
    table.add_column("subject", no_wrap=True)
    for name in ("n", "A", "B", "lost", "gained", "errors", "drop seen from"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    verdict = compared.verdict
    for rows, findings, style in (
        (compared.subjects, verdict.subjects, ""),
        (compared.domains, verdict.domains, "bold"),
    ):
        found = {one.name: one for one in findings}
        for row in rows:
            mine = found.get(row.name)
            visible = mine.smallest_visible_drop if mine else None
            table.add_row(
                row.name,
                str(row.n),
                _rate(row.reference_accuracy),
                _rate(row.candidate_accuracy),
                str(row.losses or "·"),
                str(row.gains or "·"),
                str(row.errors or "·"),
                "–" if visible is None else f"{100 * visible:.1f}",
                mine.word if mine else "",
                style=style,
            )
    return lines_of(table)


def _flip(flip: Flip, kept: KeptQuestion | None) -> str:
    said = "  →  ".join(
        f"{answer.state} {answer.choice or one_line(answer.text, limit=30)}".rstrip()
        for answer in (flip.reference, flip.candidate)
    )
    text = one_line(kept.text, limit=50) if kept else ""
    return f"  {flip.change}  {flip.subject}  {flip.question[:12]}  {said}  {text}".rstrip()


def _rate(accuracy: float | None) -> str:
    return "–" if accuracy is None else f"{accuracy:.1%}"
