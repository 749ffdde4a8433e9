"""How many questions a second one process can feed to its servers, and several together.

Several are those of `pytest -n 2`, and two `capgate worker` that keep their answers in one folder,
as two machines would.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from perf.measuring import Command, Cost, cost_of, stand_in
from perf.scale_project import TARGET, make_project

MANY: Final = "many"
FEW: Final = "few"
SMALL: Final = 60
"""Questions of a run that shows what starting costs."""

WORKERS: Final = "2 × capgate worker"
WAYS: Final = ("-n 0", "-n 2", WORKERS)

GROUPS: Final = 20
CONNECTIONS: Final = 256

SERVERS: Final[dict[str, tuple[float, tuple[str, ...]]]] = {
    "no latency": (0.0, ()),
    "50 ms each": (0.05, ()),
    # A step of 10 ms and 0.1 ms for each of at most 256 requests: 890 questions/s at the most.
    "batching continuously": (0.0, ("--batching", "10", "0.1", "256", "8")),
}
"""Name to latency in seconds and further options of the stand-in."""


@dataclass(frozen=True)
class Rate:
    """What one way of asking reached with one server.

    Attributes:
        server: The server.
        way: How it was asked.
        small: A run with few questions.
        whole: A run with many.
        busy: Share of the time between the runs' ends in which the server had a request.
    """

    server: str
    way: str
    small: Cost
    whole: Cost

    @property
    def rate(self) -> float:
        """Questions a second beyond the start."""
        return self._questions / (self.whole.wall - self.small.wall)

    @property
    def cpu(self) -> float:
        """CPU seconds of a question beyond the start."""
        return (self.whole.cpu - self.small.cpu) / self._questions

    @property
    def _questions(self) -> int:
        return self.whole.questions - self.small.questions

    def row(self) -> str:
        """A line of the table."""
        return (
            f"| {self.server} | {self.way} | {self.rate:,.0f} | {1000 * self.cpu:.2f} "
            f"| {1 / self.cpu:,.0f} | {self.small.wall:.1f} |"
        )


HEAD: Final = (
    "| server | asked by | questions/s beyond the start | CPU ms a question "
    "| questions/s of a whole core | start, s |\n|---|---|---|---|---|---|"
)


def measured(folder: Path, questions: int) -> Iterator[Rate]:
    """Asks stand-in servers by one process, and by two in two ways."""
    for number, (server, way) in enumerate(product(SERVERS, WAYS)):
        latency, options = SERVERS[server]
        with stand_in(latency, *options) as url:
            small, whole = (
                _cost(folder / f"{number}-{name}", url, name, count, way)
                for name, count in ((FEW, SMALL), (MANY, questions))
            )
            _checked(url, questions + SMALL)
        rate = Rate(server, way, small, whole)
        print(f"{server}, {way}: {rate.rate:,.0f} questions/s", file=sys.stderr)
        yield rate


def _cost(root: Path, url: str, name: str, count: int, way: str) -> Cost:
    entry = {"base_url": url, "max_connections": CONNECTIONS}
    make_project(root, entry, {name: count}, GROUPS)
    chosen = ["--benchmark", name, "--measure", "--model-id", TARGET]
    if way == WORKERS:
        program = str(Path(sys.executable).with_name("capgate"))
        parts = [
            shlex.join([program, "worker", "--shard", part, "--store", "reports/answers/", *chosen])
            for part in ("0/2", "1/2")
        ]
        # Both have to end well.
        both = f"{parts[0]} & {parts[1]}; second=$?; wait $! && exit $second"
        return cost_of(Command(way, ["sh", "-c", both], root, count))
    arguments = [sys.executable, "-m", "pytest", "benchmarks", "-p", "no:hypothesispytest"]
    arguments += ["-m", "full", "-q", *way.split(), *chosen]
    return cost_of(Command(way, arguments, root, count))


def _checked(url: str, questions: int) -> None:
    """Makes sure that each question was asked once, but for the few of preflights.

    Raises:
        SystemExit: It was not so.
    """
    with urlopen(f"{url.removesuffix('/v1')}/stats") as reply:
        asked = json.load(reply)["questions"]
    if not questions <= asked <= questions + 200:
        raise SystemExit(f"the server was asked {asked:,} questions, not {questions:,}")
