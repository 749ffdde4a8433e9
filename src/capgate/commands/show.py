"""`capgate show`: one question of a run in full.

Shows a question with its choices and key, both sides' transcripts, and the command that asks it
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from capgate.commands.finished_run import add_run_argument, one_target, open_report, resumed
from capgate.common.answers import Answer
from capgate.common.errors import ConfigError
from capgate.common.output import Output
from capgate.common.redact import Redactor
from capgate.common.text import format_dollars, one_line, printable, quoted
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.report.data.comparison import Flip
from capgate.report.data.result import Report
from capgate.report.text.advice import reference_name
from capgate.report.text.shown_commands import look_command
from capgate.run.transcripts import Transcript, ask_again, transcripts
from capgate.store.answer_store import Store
from capgate.store.kept import KeptQuestion

_SHORTEST = 4


@dataclass(frozen=True)
class Found:
    """A question of a run, from its store or its report."""

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
    for line in _lines(report, folder, settings, target, options.question, ask=options.ask):
        out.line(line)
    return 0


def _lines(
    report: Report, folder: Path, settings: Settings, target: str, name: str, *, ask: bool
) -> Iterator[str]:
    found = find_question(report, settings, target, name)
    yield f"{found.subject}  {found.hash}"
    yield quoted(found.text)
    for letter, choice in zip("ABCDEFGH", found.choices, strict=False):
        mark = "  ← key" if letter == found.key else ""
        yield f"{letter}) {one_line(choice, limit=2_000)}{mark}"
    if found.flip is not None:
        verb = "lost" if found.flip.change == "loss" else "gained"
        note = f" (MMLU-Redux: {found.flip.note})" if found.flip.note else ""
        yield f"{verb}, label: {found.flip.label}{note}"
    comparison = report.comparisons.get(target)
    reference = comparison.reference if comparison else {}
    sides = [("candidate", target)]
    if reference.get("target"):
        sides.insert(0, ("reference", str(reference["target"])))
    for side, who in sides:
        title = f"{side}: {reference_name(reference) if side == 'reference' else who}"
        recorded = str(reference.get("run", "")) if side == "reference" else ""
        shown = transcripts(settings, recorded or report.run, who, found.hash, folder.parent)
        yield ""
        yield from _transcript(title, shown, found.flip, side)
    again = look_command(report, "show", report.run, found.hash, "--target", target, "--ask")
    yield ""
    yield f"ask it again: {again}"
    if ask:
        yield from _ask(report, settings, target, found.hash)


def find_question(report: Report, settings: Settings, target: str, name: str) -> Found:
    """The question with this hash, beginning of a hash, or sample id.

    Raises:
        ConfigError: None begins so, or several do.
    """
    flips = {
        flip.question: flip
        for flip in (report.comparisons[target].flips if target in report.comparisons else ())
    }
    kept = _kept(report, settings, target)
    names = {q: {q} for q in [*flips, *kept]}
    for question, question_kept in kept.items():
        names[question].add(question_kept.sample)
    hits = [q for q, known in names.items() if name in known]
    if not hits and len(name) >= _SHORTEST:
        hits = [q for q in names if q.startswith(name)]
    if len(hits) != 1:
        raise ConfigError(
            f"{len(hits) or 'no'} questions of {target} in the run {report.run} begin with "
            f"{name!r}",
            remedy=f"{look_command(report, 'triage', report.run)} lists those that flipped",
        )
    flip, one = flips.get(hits[0]), kept.get(hits[0])
    if one is not None:
        return Found(hits[0], one.subject, one.text, one.choices, one.key, flip)
    assert flip is not None
    return Found(hits[0], flip.subject, flip.text, flip.choices, flip.key, flip)


def _kept(report: Report, settings: Settings, target: str) -> dict[str, KeptQuestion]:
    if not settings.store.exists():
        return {}
    with Store(settings.store) as store:
        return store.kept_questions([s.answer.question for s in store.used(report.run, target)])


def _transcript(
    title: str, transcript: Transcript | None, flip: Flip | None, side: str
) -> Iterator[str]:
    if transcript is not None:
        answer = transcript.answer
        margin = "" if answer.margin is None else f", margin {answer.margin:.2f} nat"
        served = f", served by {one_line(answer.served_by, limit=80)}" if answer.served_by else ""
        yield f"{title}: {answer.state}{f' {answer.choice}' if answer.choice else ''}{margin}"
        cost = "" if answer.cost is None else f", {format_dollars(answer.cost)}"
        yield f"  {answer.seconds:.2f} s, {answer.completion_tokens} tokens{cost}{served}"
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


def _ask(report: Report, settings: Settings, target: str, question: str) -> Iterator[str]:
    redactor = project_redactor(settings)
    with resumed(report, settings) as run:
        for who, answer in ask_again(run, target, question).items():
            kept = (stored.answer for stored in run.store.used(report.run, who))
            before = next((one for one in kept if one.question == question), None)
            yield ""
            yield f"now, {who}: {_said(answer)}{_changed(before, answer, redactor)}"
            yield quoted(answer.text, mark="  │ ")
