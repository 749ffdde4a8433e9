"""A verdict over several benchmarks by itself, in lines."""

from __future__ import annotations

from collections.abc import Iterator

from capgate.common.text import printable
from capgate.gate.suite_verdict import BenchmarkFinding, SuiteVerdict
from capgate.report.data.nouns import benchmark_name
from capgate.report.text.table_lines import lines_of


def suite_lines(suite: SuiteVerdict) -> Iterator[str]:
    """The kind, why, a row for each benchmark, and how the error budget was divided."""
    first, *rest = map(printable, suite.reasons)
    yield f"{suite.kind}: {first}"
    for reason in rest:
        yield f"  {reason}"
    yield from _table(suite)
    if suite.budget is not None:
        yield f"  Budget: {suite.budget}."


def _table(suite: SuiteVerdict) -> list[str]:
    from rich.table import Table

    table = Table(box=None)
    table.add_column("benchmark", no_wrap=True)
    for name in ("questions", "drop", "catch"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in suite.benchmarks:
        table.add_row(
            printable(benchmark_name(one.name)),
            "–" if one.n is None else f"{one.n:,}",
            "–" if one.drop is None else f"{100 * one.drop:+.1f}",
            "–" if one.catch is None else f"{100 * one.catch:.3g}",
            _word(one),
        )
    return lines_of(table)


def _word(one: BenchmarkFinding) -> str:
    word = "REGRESSION" if one.failed else one.kind
    return f"{word} (advisory)" if one.advisory else word
