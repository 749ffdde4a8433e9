"""The report's charts as geometry: numbers in, coordinates out; the templates draw them.

Across, all coordinates are in percent of the chart's width, so that it fits a phone and a
screen alike without its letters being scaled; y is in pixels, downwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capgate.gate.stats import Interval
from capgate.gate.verdict import interval_text
from capgate.report.data.comparison import Comparison, Paired
from capgate.report.data.history import Entry, by_series

_RUNS_SHOWN: Final = 60
_SERIES_SHOWN: Final = 4


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class DropChart:
    """The drop with its interval, against what is tolerated and what must be caught."""

    ticks: tuple[Tick, ...]
    zero: float
    tolerate: float | None
    catch: float | None
    low: float | None
    high: float | None
    drop: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        points: `x,y x,y …` for a polyline.
        last: Its end.
        threshold: Height of the line that it must reach.
    """

    points: str
    last: tuple[float, float]
    threshold: float
    against: str


@dataclass(frozen=True)
class EvidenceChart:
    """How the evidence of a quick run grew, batch by batch."""

    height: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float
    harm: Line
    harmless: Line
    text: str


@dataclass(frozen=True)
class SubjectBar:
    """One subject's losses and gains, as shares of its questions in percent of the axis."""

    subject: str
    n: int
    losses: int
    gains: int
    lost: float
    gained: float
    drop: float
    failed: bool


@dataclass(frozen=True)
class DomainBars:
    """A domain's subjects: the failed ones first, then by drop; those without a flip by name.

    Attributes:
        domain: Its name; `""` for subjects that belong to none.
        whole: Its counts; None for subjects that belong to none.
        failed: Whether the verdict names it.
        bars: Its subjects with a flip.
        unchanged: Those without one.
    """

    domain: str
    whole: Paired | None
    failed: bool
    bars: tuple[SubjectBar, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True)
class TrendPoint:
    """A run in the trend."""

    x: float
    y: float
    low: float | None
    high: float | None
    kind: str
    title: str
    here: bool


@dataclass(frozen=True)
class TrendLine:
    """Runs that may be joined by a line."""

    name: str
    asked: str
    points: str
    marks: tuple[TrendPoint, ...]


@dataclass(frozen=True)
class TrendChart:
    """A target's runs over time."""

    height: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[TrendLine, ...]
    hidden: int


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover `low` to `high`, about `count` of them."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) for i in range(first, last + 1)]


def drop_chart(verdict: Mapping[str, Any]) -> DropChart | None:
    """The chart of a verdict's drop; None where nothing was scored."""
    drop = verdict["drop"]
    if drop is None:
        return None
    interval, policy = verdict["interval"], verdict["policy"] or {}
    tolerate, catch = policy.get("tolerate"), policy.get("catch")
    inside = [0.0, drop, tolerate or 0.0, catch or 0.0]
    if interval:
        inside += [interval["low"], interval["high"]]
    low, high = 100 * max(-1.0, min(inside)), 100 * min(1.0, max(inside))
    marks = nice_ticks(low - 0.5, high + 0.5, 6)

    def x(fraction: float) -> float:
        value = min(max(100 * fraction, marks[0]), marks[-1])
        return round(100 * (value - marks[0]) / (marks[-1] - marks[0]), 2)

    sure = f", {interval_text(Interval(**interval))}" if interval else ""
    return DropChart(
        ticks=tuple(Tick(x(mark / 100), f"{mark:+g}" if mark else "0") for mark in marks),
        zero=x(0.0),
        tolerate=None if tolerate is None else x(tolerate),
        catch=None if catch is None else x(catch),
        low=x(interval["low"]) if interval else None,
        high=x(interval["high"]) if interval else None,
        drop=x(drop),
        text=f"Drop of {100 * drop:+.1f} points{sure}",
    )


def evidence_chart(
    path: Sequence[Mapping[str, Any]], evidence: Sequence[Mapping[str, Any]] = ()
) -> EvidenceChart | None:
    """The chart of a quick run's evidence; None where none was recorded.

    Args:
        path: Where the run stood after each batch.
        evidence: The tests that its verdict rests on, whose figures the text repeats.
    """
    if not path:
        return None
    height, top, bottom = 300.0, 16.0, 262.0
    last = path[-1]
    needed = max(last["needed_harm"], last["needed_harmless"])
    values = [step[name] for step in path for name in ("log10_harm", "log10_harmless")]
    # What lies far below zero says no more than that it lies below.
    floor = max(min([0.0, *values]), -2.0 * needed)
    marks = nice_ticks(floor, max([needed, *values]) * 1.05, 5)
    xs = nice_ticks(0, last["questions"], 4)
    end = max(xs[-1], 1.0)

    def x(questions: float) -> float:
        return round(100 * questions / end, 2)

    def y(value: float) -> float:
        inside = min(max(value, marks[0]), marks[-1])
        return round(bottom - (inside - marks[0]) / (marks[-1] - marks[0]) * (bottom - top), 1)

    def line(name: str, threshold: str, against: str) -> Line:
        steps = [(x(0), y(0.0)), *((x(step["questions"]), y(step[name])) for step in path)]
        return Line(
            " ".join(f"{a:g},{b:g}" for a, b in steps), steps[-1], y(last[threshold]), against
        )

    known = {one["hypothesis"]: one["value"] for one in evidence if one["measure"] == "log10_e"}

    def peak(name: str, against: str) -> float:
        # The highest decides, and may lie within a batch: the verdict states it.
        return float(known.get(against, max(0.0, *(step[name] for step in path))))

    # Runs of before did not say what the evidence is against.
    harm, harmless = last.get("harm", "no loss"), last.get("harmless", "a loss")
    return EvidenceChart(
        height=height,
        x_ticks=tuple(Tick(x(mark), f"{mark:,.0f}") for mark in xs),
        y_ticks=tuple(Tick(y(mark), f"{mark:g}") for mark in marks),
        zero=y(0.0),
        harm=line("log10_harm", "needed_harm", harm),
        harmless=line("log10_harmless", "needed_harmless", harmless),
        text=f"After {last['questions']:,} questions in {len(path)} "
        f"{'batches' if len(path) > 1 else 'batch'}, at its highest: evidence against "
        f"“{harm}” {peak('log10_harm', harm):.2f} of the "
        f"{last['needed_harm']:.2f} needed, against “{harmless}” "
        f"{peak('log10_harmless', harmless):.2f} of {last['needed_harmless']:.2f}",
    )


def subject_bars(
    comparison: Comparison,
    failed: Sequence[str],
    domains: Sequence[str],
    families: Mapping[str, Sequence[str]],
) -> tuple[DomainBars, ...]:
    """Losses and gains by subject, grouped by domain.

    Args:
        comparison: With the counts of both.
        failed: The subjects that the verdict names.
        domains: The domains that it names.
        families: Domain to its subjects (`Result.families`).
    """
    scored = {s: one for s, one in comparison.subjects.items() if one.n}
    most = max([max(one.losses, one.gains) / one.n for one in scored.values()] or [0.0]) or 1.0
    found: list[DomainBars] = []
    for domain, subjects in families.items():
        bars = [
            SubjectBar(
                subject=subject,
                n=one.n,
                losses=one.losses,
                gains=one.gains,
                lost=round(100 * one.losses / one.n / most, 2),
                gained=round(100 * one.gains / one.n / most, 2),
                drop=one.drop or 0.0,
                failed=subject in failed,
            )
            for subject, one in scored.items()
            if subject in subjects
        ]
        bars.sort(key=lambda bar: (not bar.failed, -bar.drop, bar.subject))
        whole = comparison.domains.get(domain)
        if bars and (whole is not None or not domain):
            found.append(
                DomainBars(
                    domain=domain,
                    whole=whole,
                    failed=domain in domains,
                    bars=tuple(bar for bar in bars if bar.losses or bar.gains),
                    unchanged=tuple(b.subject for b in bars if not b.losses and not b.gains),
                )
            )
    return tuple(found)


def trend_chart(rows: Sequence[Entry], run: str) -> TrendChart | None:
    """A target's runs over time; None where none was scored."""
    scored = [row for row in rows if row.accuracy is not None]
    shown = scored[-_RUNS_SHOWN:]
    if not shown:
        return None
    groups = dict(list(by_series(shown).items())[:_SERIES_SHOWN])
    inside = [row for row in shown if row.series in groups]
    order = {row.run: at for at, row in enumerate(inside)}
    top, bottom = 16.0, 232.0
    accuracies = [row.accuracy for row in inside if row.accuracy is not None]
    lows = [row.low for row in inside if row.low is not None]
    highs = [row.high for row in inside if row.high is not None]
    marks = nice_ticks(100 * min([*accuracies, *lows]), 100 * max([*accuracies, *highs]), 5)
    if len(marks) < 2:
        marks = [marks[0] - 1, marks[0] + 1]

    def x(row: Entry) -> float:
        return round(100 * (order[row.run] + 0.5) / len(order), 2)

    def y(fraction: float) -> float:
        share = (100 * fraction - marks[0]) / (marks[-1] - marks[0])
        return round(bottom - share * (bottom - top), 1)

    def point(row: Entry) -> TrendPoint:
        assert row.accuracy is not None
        partial = "" if row.complete else ", partial"
        return TrendPoint(
            x=x(row),
            y=y(row.accuracy),
            low=None if row.low is None else y(row.low),
            high=None if row.high is None else y(row.high),
            kind=row.verdict or "measured",
            title=f"{row.finished}: {100 * row.accuracy:.1f} %, {row.verdict or 'measured'}"
            f"{partial}, {row.questions:,} questions"
            f"{', 0 asked' if row.asked_now == 0 else ''}, run {row.run}",
            here=row.run == run,
        )

    lines = []
    for number, group in enumerate(groups.values()):
        points = tuple(point(row) for row in group)
        joined = " ".join(f"{p.x:g},{p.y:g}" for p in points)
        lines.append(TrendLine("ABCDEFGH"[number], group[-1].asked, joined, points))
    ticks = inside[:: max(1, math.ceil(len(inside) / 3))]
    return TrendChart(
        height=270.0,
        x_ticks=tuple(map(Tick, map(x, ticks), _times([row.finished for row in ticks]))),
        y_ticks=tuple(Tick(y(mark / 100), f"{mark:g} %") for mark in marks),
        lines=tuple(lines),
        hidden=len(scored) - len(inside),
    )


def _times(finished: Sequence[str]) -> list[str]:
    """Times (ISO 8601, UTC) as labels of an axis: dates, or finer where two would be equal."""
    for first, last in ((0, 10), (5, 16), (5, 19)):
        labels = [one[first:last].replace("T", " ") for one in finished]
        if len(set(labels)) == len(labels):
            return labels
    return [one[5:19].replace("T", " ") for one in finished]
