"""`capgate show`: one question of a run in full.

Shows a question with its choices and key, both sides' transcripts, and the command that asks it
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.finished_run import (
    add_benchmark_option,
    add_run_argument,
    chosen_sections,
    one_target,
    open_report,
    resumed,
)
from capgate.common.answers import Answer
from capgate.common.errors import ConfigError
from capgate.common.output import Output
from capgate.common.redact import Redactor
from capgate.common.text import format_dollars, one_line, printable, quoted
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.report.data.comparison import Flip
from capgate.report.data.result import Report, Section
from capgate.report.text.advice import reference_name
from capgate.report.text.shown_commands import look_command
from capgate.run.transcripts import Transcript, ask_again, transcripts
from capgate.store.kept import KeptQuestion
from capgate.store.open_store import is_there, open_store

_SHORTEST = 4


@dataclass(frozen=True)
class Found:
    """A question of a run, from its store or its report."""

    benchmark: str
    hash: str
    subject: str
    text: str
    choices: Sequence[str]
    key: str
    flip: Flip | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    add_run_argument(parser)
    parser.add_argument(
        "question", metavar="QUESTION", help="its hash, or how it begins; Inspect's sample id"
    )
    parser.add_argument("--target", metavar="ID", help="the target, where the run has several")
    add_benchmark_option(parser)
    parser.add_argument(
        "--ask", action="store_true", help="ask both sides again now, and show what they answer"
    )


def run(options: argparse.Namespace) -> int:
    """Shows the question; returns 0.

    Raises:
        CapgateError: There is no such run or question, or it can't be asked again.
    """
    report, folder, settings = open_report(options)
    target = one_target(report, options.target)
    redactor = project_redactor(settings)
    out = Output(lambda: redactor)
    found = find_question(report, settings, target, options.question, options.benchmark)
    for line in _lines(report, folder, settings, target, found, ask=options.ask):
        out.line(line)
    return 0


def _lines(
    report: Report, folder: Path, settings: Settings, target: str, found: Found, *, ask: bool
) -> Iterator[str]:
    named = found.benchmark not in {MMLU, found.subject}
    yield f"{f'{found.benchmark}: ' if named else ''}{found.subject}  {found.hash}"
    yield quoted(found.text)
    if not found.choices:
        yield f"key: {one_line(found.key, limit=2_000)}"
    for letter, choice in zip(ascii_uppercase, found.choices, strict=False):
        mark = "  ← key" if letter == found.key else ""
        yield f"{letter}) {one_line(choice, limit=2_000)}{mark}"
    if found.flip is not None:
        verb = "lost" if found.flip.change == "loss" else "gained"
        note = f" (MMLU-Redux: {found.flip.note})" if found.flip.note else ""
        yield f"{verb}, label: {found.flip.label}{note}"
    comparison = report.sections[found.benchmark].comparisons.get(target)
    reference = comparison.reference if comparison else {}
    sides = [("candidate", target)]
    if reference.get("target"):
        sides.insert(0, ("reference", str(reference["target"])))
    for side, who in sides:
        title = f"{side}: {reference_name(reference) if side == 'reference' else who}"
        recorded = str(reference.get("run", "")) if side == "reference" else ""
        shown = transcripts(
            settings,
            recorded or report.run,
            who,
            found.hash,
            folder.parent,
            benchmark=found.benchmark,
        )
        yield ""
        yield from _transcript(title, shown, found.flip, side)
    words = ["--benchmark", found.benchmark] if report.benchmarks else []
    again = look_command(
        report, "show", report.run, found.hash, "--target", target, *words, "--ask"
    )
    yield ""
    yield f"ask it again: {again}"
    if ask:
        yield from _ask(report, settings, target, found)


def find_question(
    report: Report, settings: Settings, target: str, name: str, benchmark: str | None = None
) -> Found:
    """The question with this hash, beginning of a hash, or sample id.

    Args:
        report: The run's report.
        settings: Names the store.
        target: Whose question it is.
        name: The hash, how it begins, or the sample's id.
        benchmark: The benchmark that it belongs to; any where None.

    Raises:
        ConfigError: None begins so, several do, or the run did not ask the benchmark.
    """
    sections = chosen_sections(report, benchmark)
    known = [
        (question, names)
        for one, section in sections.items()
        for question, names in _questions(report, settings, target, one, section)
    ]
    hits = [question for question, names in known if name in names]
    if not hits and len(name) >= _SHORTEST:
        hits = [question for question, _ in known if question.hash.startswith(name)]
    if len(hits) == 1:
        return hits[0]
    among = {question.benchmark for question in hits}
    raise ConfigError(
        f"{len(hits) or 'no'} questions of {target} in the run {report.run} begin with {name!r}",
        remedy=f"name one of their benchmarks: --benchmark {' or '.join(sorted(among))}"
        if len(among) > 1
        else f"{look_command(report, 'triage', report.run)} lists those that flipped",
    )


def _questions(
    report: Report, settings: Settings, target: str, benchmark: str, section: Section
) -> Iterator[tuple[Found, set[str]]]:
    """The questions of a target in a benchmark, each with the names that it goes by."""
    comparison = section.comparisons.get(target)
    flips = {flip.question: flip for flip in (comparison.flips if comparison else ())}
    kept = _kept(report, settings, target, benchmark)
    for question in {**flips, **kept}:
        flip, one = flips.get(question), kept.get(question)
        told = one or flip
        assert told is not None
        yield (
            Found(benchmark, question, told.subject, told.text, told.choices, told.key, flip),
            {question, one.sample} if one else {question},
        )


def _kept(
    report: Report, settings: Settings, target: str, benchmark: str
) -> dict[str, KeptQuestion]:
    if not is_there(settings.store):
        return {}
    with open_store(settings.store) as store:
        asked = store.used(report.run, target, benchmark=benchmark)
        return store.kept_questions([s.answer.question for s in asked], benchmark=benchmark)


def _transcript(
    title: str, transcript: Transcript | None, flip: Flip | None, side: str
) -> Iterator[str]:
    if transcript is not None:
        answer = transcript.answer
        margin = "" if answer.margin is None else f", margin {answer.margin:.2f} nat"
        served = f", served by {one_line(answer.served_by, limit=80)}" if answer.served_by else ""
        yield f"{title}: {answer.state}{f' {answer.choice}' if answer.choice else ''}{margin}"
        cost = "" if answer.cost is None else f", {format_dollars(answer.cost)}"
        at = f", answered at {one_line(answer.endpoint, limit=80)}" if answer.endpoint else ""
        yield f"  {answer.seconds:.2f} s, {answer.completion_tokens} tokens{cost}{served}{at}"
        for role, text in transcript.messages:
            yield f"  {printable(role)}:"
            yield quoted(text, mark="  │ ")
        if transcript.note:
            yield f"  ({transcript.note})"
        return
    known = None if flip is None else (flip.reference if side == "reference" else flip.candidate)
    if known is None:
        yield f"{title}: nothing of it was kept"
        return
    yield f"{title}: {known.state}{f' {known.choice}' if known.choice else ''}"
    if known.text is None:
        yield "  (a recorded baseline keeps no long text)"
    else:
        yield quoted(known.text, mark="  │ ")


def _said(answer: Answer) -> str:
    return f"{answer.state}{f' {answer.choice}' if answer.choice else ''}"


def _changed(before: Answer | None, now: Answer, redactor: Redactor) -> str:
    """How an answer differs from the stored one; the end of its line."""
    if before is None:
        return "  (no answer is stored)"
    if (before.state, before.choice) != (now.state, now.choice):
        return f"  ANSWERS OTHERWISE THAN STORED ({_said(before)})"
    same = redactor.text(before.text) == redactor.text(now.text)
    return "  (as stored)" if same else "  (as stored, in other words)"


def _ask(report: Report, settings: Settings, target: str, found: Found) -> Iterator[str]:
    redactor = project_redactor(settings)
    with resumed(report, settings, found.benchmark) as run:
        for who, answer in ask_again(run, target, found.hash).items():
            used = run.store.used(report.run, who, benchmark=found.benchmark)
            kept = (stored.answer for stored in used)
            before = next((one for one in kept if one.question == found.hash), None)
            yield ""
            yield f"now, {who}: {_said(answer)}{_changed(before, answer, redactor)}"
            yield quoted(answer.text, mark="  │ ")
