"""A sweep's result for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table

from capgate.common.text import one_line
from capgate.report.data.nouns import benchmark_name, name_words
from capgate.report.text.table_lines import lines_of
from capgate.run.swept import Row, SweepResult, SweptBenchmark, Training

_WIDTH = 180
_LONGEST_REASON = 400


def sweep_lines(result: SweepResult) -> Iterator[str]:
    """Yields a sweep's result: a table of its adapters, the training runs, and the summary."""
    if result.rows:
        yield from lines_of(_table(result), width=_WIDTH)
    for row in result.rows:
        if row.kind == "ERROR":
            for reason in row.swept.reasons:
                yield f"{row.swept.adapter}: {one_line(reason, limit=_LONGEST_REASON)}"
    for training in result.trainings:
        yield training_line(training)
    yield headline(result)
    yield (
        f"base {result.base}: {result.base_questions:,} questions, {result.base_tokens:,} tokens; "
        f"adapters: {sum(row.swept.questions for row in result.rows):,} questions, "
        f"{sum(row.swept.tokens for row in result.rows):,} tokens"
    )
    if result.fault:
        yield f"ERROR: the sweep ended before its end: {result.fault}"
    if result.waiting:
        yield (
            f"not judged: {len(result.waiting)} of {result.adapters} adapters; the same command "
            "goes on with them"
        )


def headline(result: SweepResult) -> str:
    """What came of a sweep, in one sentence."""
    counts = ", ".join(
        f"{n} {what}"
        for what, n in (
            ("passed", result.count("PASS")),
            ("inconclusive", result.count("INCONCLUSIVE")),
            ("could not be judged", result.count("ERROR")),
        )
        if n
    )
    lost = len(result.lost)
    said = f"{lost or 'none'} of {result.adapters} adapters lost capability"
    return (
        f"{said} (at a false discovery rate of at most {100 * result.level:.3g} %)"
        f"{'; ' if counts else ''}{counts}"
    )


def training_line(training: Training) -> str:
    """A training run's checkpoints in order, and the first of them that lost."""
    steps = ", ".join(f"{_last(row)} {row.kind}{_of_loudest(row)}" for row in training.rows)
    first = training.first_lost
    said = f"first lost at {_last(first)}" if first else "none of its checkpoints lost"
    return f"{training.name}: {said} ({steps})"


def drop_text(one: SweptBenchmark) -> str:
    """A drop in points, as `+3.1`; a dash where there is none."""
    return "–" if one.drop is None else _signed(one.drop)


def interval_text(interval: Mapping[str, float] | None) -> str:
    """A drop's interval in points."""
    if interval is None:
        return "–"
    return f"{_signed(interval['low'])} to {_signed(interval['high'])}"


def worst_text(one: SweptBenchmark) -> str:
    """The group that lost most, with its counts."""
    worst = one.worst
    if worst is None:
        return "–"
    return f"{name_words(worst.name)} ({worst.losses} lost, {worst.gains} gained of {worst.n})"


def _table(result: SweepResult) -> Table:
    several = len(result.benchmarks) > 1
    table = Table(box=None)
    table.add_column("verdict")
    table.add_column("adapter", overflow="fold")
    if several:
        table.add_column("benchmark")
    for name in ("drop", "interval", "lost", "gained", "of"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("worst group")
    table.add_column("tokens", justify="right", no_wrap=True)
    for row in result.rows:
        loudest = row.swept.loudest
        shown: list[SweptBenchmark | None] = [loudest]
        if several and row.kind != "PASS":
            shown += [one for one in row.swept.benchmarks if one is not loudest and one.n]
        for at, one in enumerate(shown):
            head = [row.kind, row.swept.adapter] if at == 0 else ["", ""]
            table.add_row(*head, *_cells(row, one, several=several))
    return table


def _cells(row: Row, one: SweptBenchmark | None, *, several: bool) -> list[str]:
    if one is None:
        return [*([""] if several else []), *["–"] * 6, f"{row.swept.tokens:,}"]
    name = benchmark_name(one.name)
    if one.advisory:
        name += " (advisory)"
    elif one.name in row.lost_on:
        name += " LOST"
    return [
        *([name] if several else []),
        drop_text(one),
        interval_text(one.interval),
        "–" if one.losses is None else f"{one.losses:,}",
        "–" if one.gains is None else f"{one.gains:,}",
        f"{one.n:,}",
        worst_text(one),
        f"{one.tokens:,}",
    ]


def _last(row: Row) -> str:
    return row.swept.adapter.rstrip("/").rpartition("/")[2]


def _of_loudest(row: Row) -> str:
    loudest = row.swept.loudest
    return "" if loudest is None else f" {drop_text(loudest)}"


def _signed(share: float) -> str:
    """A share in points with its sign; never `-0.0`."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"
