"""Many answers, many adapters, many servers: what scales, and how far one process goes.

    make bench-scale                                     # hours
    python perf/scale.py --part rate                    # one part: answers, stores, rate or fleet

Each part is measured on this machine against stand-in servers, each in a process of its own:

- `answers`: a run of many adapters is asked, judged and reported; the same run is made once more
  from what is stored; reports are made anew. In three sizes, up to a million answers.
- `stores`: `capgate store merge` of stores that sixteen machines wrote at the same time.
- `rate`: how many questions a second one process feeds to a server, and two. The start is measured
  apart, by a run with few questions.
- `fleet`: `capgate sweep` of adapters over eight servers that batch continuously, first over
  servers that live, then over servers of which two are killed on the way.

No answer may be lost or doubled. Exit codes: 0, or 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perf import scale_answers, scale_fleet, scale_rate, scale_stores  # noqa: E402
from perf.tables import publish  # noqa: E402

STEPS: Final = (100, 10, 1)
"""What the largest number of answers is divided by, for the three sizes."""

SMALLEST: Final = 20_000

GROWTH: Final = 1.3
"""Most times that an answer of the largest size may take the CPU time of one of the middle size."""


def answers(folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    """The table of runs of three sizes, and whether CPU time grows with the answers alone."""
    sizes = [options.answers // step for step in STEPS]
    # The smallest size is a base and one adapter.
    each = sizes[0] // 2
    found = [scale_answers.measured(folder / str(size), size, each) for size in sizes]
    _, middle, large = found
    lines = [scale_answers.HEAD, *(row for figure in found for row in figure.rows()), ""]
    missed = False
    for name, one, other in (
        ("asked", middle.asked, large.asked),
        ("found in the store", middle.stored, large.stored),
    ):
        growth = (other.cpu / other.questions) / (one.cpu / one.questions)
        missed |= growth > GROWTH
        lines.append(
            f"CPU time of an answer that is {name}, of the largest size in those of a tenth: "
            f"{growth:.2f}, at most {GROWTH}: {'**missed**' if growth > GROWTH else 'reached'}.  "
        )
    lines.append(
        f"Peak of memory: {large.asked.memory / found[0].asked.memory:.2f} times that of the "
        "smallest size."
    )
    return "\n".join(lines), missed


def stores(folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    """The table of stores put together."""
    lines = [
        "| stores | answers of each | | wall, s | CPU, s | CPU µs an answer | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for count, step in ((4, 40), (8, 20), (16, 10)):
        each = options.answers // step
        part = folder / str(count)
        part.mkdir()
        for what, cost in zip(
            ("put together", "once more"), scale_stores.merged(part, count, each), strict=True
        ):
            lines.append(
                f"| {count} | {each:,} | {what} | {cost.wall:.1f} | {cost.cpu:.1f} "
                f"| {1e6 * cost.cpu / cost.questions:.1f} | {cost.memory:.0f} |"
            )
    return "\n".join(lines), False


def rate(folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    """The table of what processes feed to a server."""
    found = list(scale_rate.measured(folder, options.questions))
    return "\n".join([scale_rate.HEAD, *(one.row() for one in found)]), False


def fleet(folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    """The table of sweeps over several servers."""
    sizes = {name: max(count // options.share, 50) for name, count in scale_fleet.SIZES.items()}
    found = list(scale_fleet.measured(folder, options.adapters, options.lost, sizes))
    return "\n".join([scale_fleet.HEAD, *(one.row() for one in found)]), False


PARTS: Final[dict[str, Callable[[Path, argparse.Namespace], tuple[str, bool]]]] = {
    "answers": answers,
    "stores": stores,
    "rate": rate,
    "fleet": fleet,
}


def main() -> int:
    """Measures, prints the tables, and says whether all goals are reached."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="all where none is named")
    parser.add_argument("--answers", type=int, default=1_000_000, help="of the largest size")
    parser.add_argument("--questions", type=int, default=20_000, help="of a run of `rate`")
    parser.add_argument("--adapters", type=int, default=100, help="of the sweep")
    parser.add_argument("--lost", type=int, default=10, help="of these, those that lost 13 points")
    parser.add_argument(
        "--share", type=int, default=1, help="the sweep's benchmarks have this part of smoke's"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    options = parser.parse_args()
    if options.answers % 200 or options.answers < SMALLEST:
        parser.error(f"--answers takes a multiple of 200 from {SMALLEST:,} on")
    any_missed = False
    for part in options.part or PARTS:
        with tempfile.TemporaryDirectory(prefix="capgate-bench-") as name:
            text, missed = PARTS[part](Path(name), options)
        any_missed |= missed
        print(text, flush=True)
        if options.write:
            publish(f"scale: {part}", text)
    return int(any_missed)


if __name__ == "__main__":
    sys.exit(main())
