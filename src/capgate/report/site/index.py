"""The first page of `capgate open`: what runs now, the targets' trends, and all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from markupsafe import Markup

from capgate.common.grouping import grouped
from capgate.common.redact import Redactor
from capgate.common.text import one_line
from capgate.report.data.history import Entry, by_series
from capgate.report.data.nouns import benchmark_name
from capgate.report.page.environment import csp_hash, page_environment, template_text
from capgate.report.page.view import SIGNS
from capgate.report.site.folder import REPORT_PAGE, SWEEP_PAGE, Found, ReportsFolder, SweepLine
from capgate.report.site.progress import ProgressNow, RunNow

MEASURED: Final = "MEASURED"
OVER_ALL: Final = "over all"
_ROWS: Final = 200
"""Rows of a page of the list."""

_POINTS: Final = 40
"""The newest runs of a target that its trend line has."""

_WIDTH, _HEIGHT, _EDGE = 160, 36, 5
"""Pixels of a trend line, and what is left free around it."""

_NAME: Final = 120


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are listed; each is `""` where all are.

    Attributes:
        target: The target's id.
        verdict: The verdict, or `MEASURED`.
        benchmark: The benchmark's name, or `OVER_ALL`.
        text: What stands in the run's id, the target, the benchmark or what was asked.
        page: The page of the list, from 1.
    """

    target: str = ""
    verdict: str = ""
    benchmark: str = ""
    text: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, Sequence[str]]) -> Wanted:
        """What a URL's query asks for; what it does not know is left out."""
        said = {name: values[0] for name, values in query.items() if values}
        page = said.get("page", "")
        number = int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1
        words = {name: said.get(name, "") for name in ("target", "verdict", "benchmark", "text")}
        return cls(**words, page=max(number, 1))

    def takes(self, row: Entry) -> bool:
        """Whether a row is listed."""
        if self.target not in ("", row.target) or self.verdict not in ("", _verdict(row)):
            return False
        if self.benchmark not in ("", _benchmark(row)):
            return False
        # A base that is compared with in each run says the same in each.
        if row.role == "reference" and not self.target:
            return False
        within = f"{row.run} {row.target} {_benchmark(row)} {row.asked}".casefold()
        return self.text.strip().casefold() in within

    def url(self, page: int) -> str:
        """The address of another page of the same list."""
        said = {name: value for name, value in asdict(self).items() if value and name != "page"}
        return "?" + urlencode({**said, "page": page}, errors="replace")


@cache
def _parts() -> tuple[str, str]:
    """The page's style sheet and its script."""
    return template_text("style.css") + template_text("index.css"), template_text("index.js")


@cache
def index_policy() -> str:
    """The content security policy of the page."""
    style, script = map(csp_hash, _parts())
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; "
        "img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def render_index(
    folder: ReportsFolder, progress: ProgressNow, wanted: Wanted, redactor: Redactor
) -> str:
    """The page.

    Args:
        folder: The folder of reports.
        progress: What is going on.
        wanted: Which rows are listed.
        redactor: Cuts out what is secret.
    """
    found = folder.found()
    rows = [row for row in found.rows if wanted.takes(row)]
    pages = max(-(-len(rows) // _ROWS), 1)
    page = min(wanted.page, pages)
    listed = rows[(page - 1) * _ROWS : page * _ROWS]
    shown: dict[str, Any] = {
        "folder": folder.path.name,
        "choices": {
            "target": sorted({row.target for row in found.rows}),
            "verdict": sorted({_verdict(row) for row in found.rows}),
            "benchmark": sorted({_benchmark(row) for row in found.rows}),
        },
        "wanted": asdict(wanted),
        "rows": [_row(row, found) for row in listed],
        "count": len(rows),
        "total": len(found.rows),
        "chosen": wanted != Wanted(page=wanted.page),
        "trends": _trends([row for row in rows if row.benchmark]),
        "sweeps": [_sweep(one) for one in found.sweeps],
        "faults": [one_line(fault, limit=300) for fault in found.faults],
        "live": [_run(run) for run in progress.runs if run.goes_on],
        "ended": [_run(run) for run in progress.runs if not run.goes_on],
        "store_fault": progress.fault,
        "page": page,
        "pages": pages,
        "before": wanted.url(page - 1) if page > 1 else "",
        "after": wanted.url(page + 1) if page < pages else "",
    }
    style, script = _parts()
    return (
        page_environment()
        .get_template("index.html.j2")
        .render(
            **redactor.data(shown),
            signs={**SIGNS, MEASURED: SIGNS["MEASURED"]},
            style=Markup(style),
            script=Markup(script),
        )
    )


def _verdict(row: Entry) -> str:
    return row.verdict or MEASURED


def _benchmark(row: Entry) -> str:
    return row.benchmark or OVER_ALL


def _row(row: Entry, found: Found) -> dict[str, Any]:
    return {
        "verdict": _verdict(row),
        "tone": _tone(_verdict(row)),
        "target": one_line(row.target, limit=_NAME),
        "benchmark": benchmark_name(_benchmark(row)),
        "mode": row.mode,
        "drop": _points(row.drop),
        "interval": _interval(row.drop_low, row.drop_high),
        "accuracy": "–" if row.accuracy is None else f"{100 * row.accuracy:.1f} %",
        "questions": row.questions,
        "finished": row.finished,
        "partial": not row.complete,
        "run": one_line(row.run, limit=_NAME),
        "page": _place(row.run, REPORT_PAGE) if row.run in found.pages else "",
    }


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_points(low)} to {_points(high)}"


def _tone(verdict: str) -> str:
    """The class of a verdict in the style sheet."""
    return verdict.lower() if verdict in SIGNS else "measured"


def _place(run: str, page: str) -> str:
    """The address of a run's page, from the first page."""
    return f"runs/{quote(run, safe='', errors='replace')}/{page}"


def _trends(rows: Sequence[Entry]) -> list[dict[str, Any]]:
    """The newest series of each target on each benchmark, with its line."""
    groups = grouped(rows, lambda row: (row.target, row.benchmark))
    lines = []
    for (target, benchmark), mine in sorted(groups.items()):
        series = by_series([row for row in reversed(mine) if row.accuracy is not None])
        newest = next(iter(series.values()), [])
        last = mine[0]
        lines.append(
            {
                "target": one_line(target, limit=_NAME),
                "benchmark": benchmark_name(benchmark),
                "verdict": _verdict(last),
                "tone": _tone(_verdict(last)),
                "runs": len(newest),
                "finished": last.finished,
                **_line([row.accuracy for row in newest[-_POINTS:] if row.accuracy is not None]),
            }
        )
    return lines


def _line(rates: Sequence[float]) -> dict[str, Any]:
    """A trend as geometry (pixels, y downwards), and in words."""
    if not rates:
        return {"points": "", "end": None, "last": "–", "words": "nothing was scored"}
    low, high = min(rates), max(rates)
    across = (_WIDTH - 2 * _EDGE) / max(len(rates) - 1, 1)
    # Less than a point of difference is drawn as what it is: nearly nothing.
    scale = (_HEIGHT - 2 * _EDGE) / max(high - low, 0.01)
    middle = (low + high) / 2
    places = [
        (_EDGE + at * across, _HEIGHT / 2 - (rate - middle) * scale)
        for at, rate in enumerate(rates)
    ]
    words = last = f"{100 * rates[-1]:.1f} %"
    if len(rates) > 1:
        words = (
            f"{len(rates)} runs, first {100 * rates[0]:.1f} %, last {last}, "
            f"between {100 * low:.1f} and {100 * high:.1f} %"
        )
    return {
        "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        "end": [round(one, 1) for one in places[-1]],
        "last": last,
        "words": words,
    }


def _sweep(one: SweepLine) -> dict[str, Any]:
    return {
        "run": one_line(one.run, limit=_NAME),
        "base": one_line(one.base, limit=_NAME),
        "adapters": one.adapters,
        "kinds": [
            (kind, _tone(kind), count)
            for kind in ("REGRESSION", "ERROR", "INCONCLUSIVE", "PASS")
            if (count := one.kinds.get(kind))
        ],
        "waiting": one.waiting,
        "finished": one.finished,
        "page": _place(one.run, SWEEP_PAGE) if one.page else "",
    }


def _run(run: RunNow) -> dict[str, Any]:
    return asdict(run)
