"""What `capgate plan` prints: one benchmark in full, or several in a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from capgate.common.grouping import grouped
from capgate.report.text.table_lines import lines_of
from capgate.run.planned_suite import Planned, PlannedSuite
from capgate.run.planning import Effort, Known, Plan

_FOLDED_FROM: Final = 3
"""More subjects than these with equal figures share a line."""


def lines_of_one(target: str, found: Plan) -> Iterator[str]:
    """A target's plan of one benchmark."""
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
    cost = "" if effort.cost is None else f"  ${effort.cost:,.2f}"
    return (
        f"{effort.questions:>7,.0f} questions  {_clock(effort.seconds)}  "
        f"{effort.tokens:,.0f} tokens{cost}"
    )


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}"


def _drop(drop: float | None) -> str:
    return "none" if drop is None else f"{100 * drop:.1f} points"


def lines_of_several(target: str, suite: PlannedSuite) -> Iterator[str]:
    """A target's plan of one verdict over several benchmarks."""
    from rich.table import Table

    yield f"{target}: one verdict over {len(suite.parts)} benchmarks"
    table = Table(box=None)
    for name in ("benchmark", "compared with", "differ"):
        table.add_column(name, no_wrap=True)
    for name in ("questions", "time", "tokens", "cost", "quick", "sees", "catch", "decides"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in suite.parts:
        table.add_row(*_cells(part))
    quick = " / ".join(f"{suite.quick(case).questions:,.0f}" for case in (0, 1))
    whole = suite.whole
    table.add_row("all", "", "", f"{whole.questions:,.0f}", *_taken(whole), quick)
    yield from lines_of(table)
    yield "  differ: share of answers that differ between the sides; against a floor, the accuracy"
    yield "  quick: questions of -m quick on average, if nothing was lost / if each lost its catch"
    yield "  sees: the smallest drop that the whole benchmark usually shows, in points"
    yield "  cost: that of earlier runs (–: none tells); capgate doctor asks OpenRouter its prices"
    yield "  what the store has an answer to costs nothing"
    for said, parts in grouped(suite.parts, _assumed).items():
        if said:
            yield f"  * ASSUMED of {', '.join(one.benchmark for one in parts)}: {said}"
    for part in suite.parts:
        yield from _warned(part)


def _cells(part: Planned) -> Iterator[str]:
    found = part.plan
    yield part.benchmark
    if found is None:
        yield "missing"
        return
    yield found.reference
    yield f"{found.figure.value:.1%}{'*' if found.figure.assumed else ''}"
    yield f"{found.whole.questions:,.0f}"
    yield from _taken(found.whole)
    yield " / ".join(f"{quick.mean.questions:,.0f}" for quick in found.quick)
    yield "none" if found.visible is None else f"{100 * found.visible:.1f}"
    yield f"{100 * part.catch:g}"
    yield "advisory" if part.advisory else "yes" if part.decides else "NO"


def _taken(effort: Effort) -> tuple[str, str, str]:
    cost = "–" if effort.cost is None else f"${effort.cost:,.2f}"
    return _clock(effort.seconds), f"{effort.tokens:,.0f}", cost


def _assumed(part: Planned) -> str:
    """What of a benchmark's plan rests on assumptions, in one sentence."""
    if part.plan is None:
        return ""
    rates = part.plan.rates
    figures = (
        ("differ", part.plan.figure, "{:.0%}"),
        ("tokens of an answer", rates.completion_tokens, "{:.0f}"),
        ("seconds of a question", rates.seconds, "{:.3f}"),
    )
    return "; ".join(
        f"{name} {form.format(known.value)} ({known.source})"
        for name, known, form in figures
        if known.assumed
    )


def _warned(part: Planned) -> Iterator[str]:
    """What keeps a benchmark from deciding."""
    if part.fault is not None:
        yield f"{part.benchmark} is missing, so there would be no verdict: {part.fault}"
    elif part.plan is not None and not part.decides and not part.advisory:
        seen = part.plan.visible
        shown = "no drop" if seen is None else f"a drop from {100 * seen:.1f} points on"
        yield (
            f"{part.benchmark} can't decide its catch of {100 * part.catch:g} points: its "
            f"{part.plan.whole.questions:,.0f} questions usually show {shown}. Raise its catch "
            "(`benchmarks:` in policy.yaml), give it more questions, or make it advisory"
        )
