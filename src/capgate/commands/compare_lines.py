"""What `capgate compare` prints of two runs, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.benchmarks.recorded import nouns_of
from capgate.common.answers import Answer
from capgate.common.output import Output
from capgate.common.text import one_line, printable
from capgate.gate.suite_verdict import SuiteVerdict
from capgate.report.data.nouns import benchmark_name
from capgate.report.text.suite_lines import suite_lines
from capgate.report.text.table_lines import lines_of
from capgate.report.text.terminal import verdict_lines
from capgate.run.compare_stored import Compared, ComparedRuns, Flip, GroupRow
from capgate.store.kept import KeptQuestion

Texts = Mapping[str, KeptQuestion]
"""Question's hash to its text."""

_SHOWN: Final = 20


def show(
    out: Output,
    found: ComparedRuns,
    texts: Mapping[str, Texts],
    *,
    left_out: Sequence[str],
    json: bool,
) -> int:
    """Prints how two runs compare; returns the verdict's exit code.

    Args:
        out: How the command writes.
        found: The comparison.
        texts: Benchmark to the texts of the questions that flipped.
        left_out: Benchmarks that only the candidate was asked.
        json: Whether it is for programs.
    """
    verdict = found.verdict
    if json:
        out.json(_of_runs(found, texts, left_out), indent=2)
        return verdict.exit_code
    if isinstance(verdict, SuiteVerdict):
        out.lines(suite_lines(verdict))
        for name, why in found.missing.items():
            out.line(f"{printable(benchmark_name(name))}: {printable(why)}")
    for name, one in found.compared.items():
        if isinstance(verdict, SuiteVerdict):
            out.line("")
            out.line(printable(benchmark_name(name)))
        out.lines(_lines(one, texts[name]))
    if left_out:
        names = ", ".join(map(benchmark_name, left_out))
        out.line(printable(f"not compared, since only RUN_B asked it: {names}"))
    return verdict.exit_code


def _of_runs(
    found: ComparedRuns, texts: Mapping[str, Texts], left_out: Sequence[str]
) -> dict[str, Any]:
    rest = {"left_out": list(left_out)} if left_out else {}
    if not isinstance(found.verdict, SuiteVerdict):
        ((name, one),) = found.compared.items()
        return _plain(one, texts[name]) | ({} if name == MMLU else {"benchmark": name}) | rest
    return {
        "verdict": found.verdict.to_dict(),
        "benchmarks": {name: _plain(one, texts[name]) for name, one in found.compared.items()},
        "missing": dict(found.missing),
        **rest,
    }


def _plain(compared: Compared, texts: Texts) -> dict[str, Any]:
    sides = {
        name: {"run": run.id, "target": run.target, "accuracy": run.accuracy}
        for name, run in (("reference", compared.reference), ("candidate", compared.candidate))
    }
    return {
        "verdict": compared.verdict.to_dict(),
        **sides,
        "differ": compared.differ,
        **({"notes": list(compared.notes)} if compared.notes else {}),
        "subjects": [_plain_row("subject", row) for row in compared.subjects],
        "domains": [_plain_row("domain", row) for row in compared.domains],
        "flips": [_plain_flip(flip, texts) for flip in compared.flips],
    }


def _plain_row(what: str, row: GroupRow) -> dict[str, Any]:
    fields = asdict(row)
    return {what: fields.pop("name"), **fields}


def _plain_flip(flip: Flip, texts: Texts) -> dict[str, Any]:
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


def _lines(compared: Compared, texts: Texts) -> Iterator[str]:
    one, other = compared.reference, compared.candidate
    yield f"A: {one.id}  {one.target}   B: {other.id}  {other.target}"
    if compared.differ:
        yield printable(f"   differ in {compared.differ}")
    for note in compared.notes:
        yield printable(f"   {note}")
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
    table.add_column(nouns_of(compared.candidate.benchmark).group, no_wrap=True)
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
