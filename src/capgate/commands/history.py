"""`capgate history`: accuracy and verdicts of a target's runs over time.

Lists the runs of reports/history.sqlite. Runs of another data set, prompt, scorer or selection
stand under a heading of their own: their accuracies can't be compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.text import one_line
from capgate.report.data.history import FILE, Entry, by_series, folded, read_history


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("target", metavar="TARGET", nargs="?", help="only this target")
    parser.add_argument("--benchmark", metavar="NAME", help="only this benchmark's rows")
    add_json(parser, ": one object a line")
    add_options(parser, only={"--output-dir"})


def run(options: argparse.Namespace) -> int:
    """Prints the runs; returns 0.

    Raises:
        StoreError: The trend can't be read.
    """
    out = output_of(options)
    found = read_history(settings_of(options).output_dir / FILE, options.target)
    rows = [row for row in found if options.benchmark in (None, row.benchmark)]
    if options.json:
        for row in rows:
            out.json(row.to_dict())
        return 0
    if not rows:
        out.line(" ".join(["no run", *_wanted(options), "yet"]))
        return 0
    targets = dict.fromkeys(row.target for row in rows)
    for target in sorted(targets):
        out.lines(_lines(target, [row for row in rows if row.target == target]))
    return 0


def _wanted(options: argparse.Namespace) -> Iterator[str]:
    if options.target:
        yield f"of {options.target}"
    if options.benchmark:
        yield f"on {options.benchmark}"


def _lines(target: str, rows: list[Entry]) -> Iterator[str]:
    yield one_line(target, limit=100)
    for group in by_series(rows).values():
        yield f"  {one_line(group[-1].asked, limit=160)}"
        before: float | None = None
        for alike in folded(group):
            row = alike[-1]
            yield f"    {_line(row, before)}{_more(alike)}"
            before = row.accuracy if row.accuracy is not None else before


def _line(row: Entry, before: float | None) -> str:
    accuracy = "    –" if row.accuracy is None else f"{100 * row.accuracy:5.1f}"
    interval = (
        f"{100 * row.low:5.1f} – {100 * row.high:5.1f}"
        if row.low is not None and row.high is not None
        else " " * 13
    )
    change = (
        f"{100 * (row.accuracy - before):+5.1f}"
        if row.accuracy is not None and before is not None
        else "     "
    )
    partial = "" if row.complete else "  partial"
    if row.age:
        partial += f"  {row.age}"
    return (
        f"{row.finished}  {accuracy} %  {interval}  {change}  {row.questions:>6,} questions  "
        f"{row.verdict or 'measured':<12}  {row.run}{partial}"
    )


def _more(alike: list[Entry]) -> str:
    """How many runs a line combines, and the range of their accuracies."""
    if len(alike) == 1:
        return ""
    rates = [row.accuracy for row in alike if row.accuracy is not None]
    spread = ""
    if rates and min(rates) < max(rates):
        spread = f", {100 * min(rates):.1f} – {100 * max(rates):.1f} %"
    return f"  ({len(alike)} runs since {alike[0].finished[:10]}{spread})"
