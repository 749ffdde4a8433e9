"""What the client costs: this suite and others, side by side, against one stand-in server.

    make bench                                    # all of MMLU; about 10 minutes
    python perf/overhead.py --questions 2000     # a smaller sample of it

All ask MMLU (from the folder that `--mmlu` names) of one local server that answers every question
after 50 ms, over 64 connections, one contender after the other. Wall time, the CPU time of the
contender's processes and the memory of its largest process are the operating system's figures.

Start-up is measured apart: each contender also runs with 57 questions, one of each subject, except
bare clients and `inspect eval`, which take the first 57. The cost of one question is the difference
of the two runs over the difference of their questions. `inspect eval` and `--runner inspect` get
`--sample` questions. The contenders that a goal concerns run `--rounds` times in turn; the table
has the means.

Then `-n 2` runs beside `-n 0` against a server without latency, where the client's own work is
what takes the time; and a run that finds all its answers in the store. It compares them with a
baseline where all of MMLU is asked. Its time beyond imports is what Python's `-X importtime`
leaves of it.

The others run offline from one `datasets` cache. lm-evaluation-harness lives in a venv of its own
(`make bench` makes it), named by `--lm-eval`.

Exit codes: 0, or 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perf import contenders  # noqa: E402
from perf.contenders import ALL, Contender, Site  # noqa: E402
from perf.measuring import Command, Cost, cost_of, stand_in  # noqa: E402
from perf.tables import publish  # noqa: E402

LATENCY: Final = 0.05
FEW: Final = 57
"""Questions of a run that shows what starting costs."""

CPU_SHARE: Final = 0.35
WALL_SHARE: Final = 0.4
"""Of lm-evaluation-harness's, the most that this suite may take."""

TWO_WORKERS_SHARE: Final = 0.7
"""Of the wall time of `-n 0`, the most that `-n 2` may take against a server without latency."""

STORED_SECONDS: Final = 3.0
"""Most seconds beyond imports of a run that finds all its answers in the store."""

SUITE: Final = "this suite, -n 0"
PEER: Final = "lm-evaluation-harness 0.4.13"


@dataclass(frozen=True)
class Figure:
    """What one contender took.

    Attributes:
        name: The contender.
        small: Its run with few questions.
        whole: Its run with many; the mean of several.
    """

    name: str
    small: Cost
    whole: Cost

    @property
    def cpu_each(self) -> float:
        """CPU milliseconds of a question, start-up excluded."""
        return (
            1000 * (self.whole.cpu - self.small.cpu) / (self.whole.questions - self.small.questions)
        )

    @property
    def wall_beyond(self) -> float:
        """Seconds of wall time, start-up excluded."""
        return self.whole.wall - self.small.wall

    def shares(self, peer: Figure) -> tuple[float, float]:
        """Wall and CPU time a question, start-up included, as shares of another contender's."""
        mine, theirs = self.whole, peer.whole
        per = theirs.questions / mine.questions
        return mine.wall / theirs.wall * per, mine.cpu / theirs.cpu * per

    def row(self, peer: Figure | None) -> str:
        """A line of the table; with shares where the other contender was asked as much."""
        shares = "| | |"
        if peer is not None and self.whole.questions > 0.9 * peer.whole.questions:
            wall, cpu = self.shares(peer)
            shares = f"| {wall:.2f} | {cpu:.2f} |"
        whole, small = self.whole, self.small
        return (
            f"| {self.name} | {whole.questions:,} | {whole.wall:.1f} | {whole.cpu:.1f} "
            f"| {small.wall:.1f} | {small.cpu:.1f} | {self.cpu_each:.2f} | {whole.memory:.0f} "
            f"{shares}"
        )


_HEAD: Final = (
    "| contender | questions | wall, s | CPU, s | of which start-up: wall | CPU "
    "| CPU ms a question beyond it | peak MiB | wall ÷ lm-eval | CPU ÷ lm-eval |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Goal:
    """A bound on a figure.

    Attributes:
        what: What is bounded.
        found: The figure.
        most: The bound.
    """

    what: str
    found: float
    most: float

    @property
    def missed(self) -> bool:
        """Whether the figure is above its bound."""
        return self.found > self.most

    def row(self) -> str:
        """A line of the table of goals."""
        verdict = "**missed**" if self.missed else "reached"
        return f"| {self.what} | {self.most:g} | {self.found:.3f} | {verdict} |"


_GOALS_HEAD: Final = "| goal | at most | found | |\n|---|---|---|---|"


def mean_of(costs: Sequence[Cost]) -> Cost:
    """The mean of several runs of one contender; of their memory the most."""
    return Cost(
        costs[0].questions,
        mean(cost.wall for cost in costs),
        mean(cost.cpu for cost in costs),
        max(cost.memory for cost in costs),
    )


def figures(
    site: Site, field: dict[str, Contender], questions: int, rounds: int
) -> Iterator[Figure]:
    """Measures contenders in turn: each with few questions, then with many."""
    small = {name: _measured(name, contender(site, FEW)) for name, contender in field.items()}
    whole: dict[str, list[Cost]] = {name: [] for name in field}
    for number in range(rounds):
        # Each comes first and last in turn, so that no drift of the machine favours one.
        for name in list(field)[:: -1 if number % 2 else 1]:
            whole[name].append(_measured(name, field[name](site, questions)))
    for name in field:
        yield Figure(name, small[name], mean_of(whole[name]))


def _measured(name: str, command: Command) -> Cost:
    cost = cost_of(command)
    print(
        f"{name}: {cost.questions:,} questions, {cost.wall:.1f} s, {cost.cpu:.1f} s of CPU",
        file=sys.stderr,
    )
    return cost


def stored(site: Site, questions: int) -> tuple[Cost, float]:
    """A run that finds all its answers in the store, and its seconds beyond imports."""
    root = contenders.project(site, "stored")
    _measured("to fill the store", contenders.suite_in(root, site, questions, "--measure"))
    judged = ["--measure"]
    if questions >= ALL:
        program = str(Path(sys.executable).with_name("capgate"))
        cost_of(Command("baseline", [program, "baseline", "record", "stand-in"], root, questions))
        judged = []
    again = contenders.suite_in(root, site, questions, *judged)
    plain = _measured("all answers stored", again)
    # pytest would keep what Python says of imports to itself.
    timed = [again.arguments[0], "-X", "importtime", *again.arguments[1:], "--capture=no"]
    traced = cost_of(Command(again.name, timed, root, again.questions))
    own = map(int, re.findall(r"^import time:\s+(\d+) \|", traced.output, re.MULTILINE))
    return plain, traced.wall - sum(own) / 1e6


def main() -> int:
    """Measures, writes the tables, and says whether all goals are reached."""
    options = _options()
    n = options.questions
    with tempfile.TemporaryDirectory(prefix="capgate-bench-") as name:
        folder = Path(name)
        hf = folder / "hf"
        # In a process of its own: Linux counts the memory of the parent for a child that starts.
        cache = [sys.executable, "-m", "perf.offline_cache", str(options.mmlu), str(hf)]
        cost_of(Command("the cache", [*cache, "--subjects"], ROOT, 1))
        with stand_in(LATENCY) as url:
            site = Site(folder, url, options.mmlu, hf, options.lm_eval)
            rivals = {SUITE: contenders.suite("-n", "0"), PEER: contenders.lm_eval}
            once = {
                "this suite, -n 2": contenders.suite("-n", "2"),
                "bare aiohttp": contenders.bare("aiohttp"),
                "bare AsyncOpenAI": contenders.bare("AsyncOpenAI"),
            }
            slow = {
                "this suite, --runner inspect": contenders.suite("-n", "0", "--runner", "inspect"),
                "inspect eval": contenders.inspect,
            }
            found = [
                *figures(site, rivals, n, options.rounds),
                *figures(site, once, n, 1),
                *figures(site, slow, min(n, options.sample), 1),
            ]
            again, beyond = stored(site, n)
        with stand_in(0.0) as url:
            site = Site(folder, url, options.mmlu, hf, options.lm_eval)
            workers = {f"-n {count}": contenders.suite("-n", str(count)) for count in (0, 2)}
            fast = list(figures(site, workers, n, options.rounds))
    suite, peer = found[:2]
    goals = [
        *(
            Goal(f"{what} a question, share of lm-evaluation-harness's", share, most)
            for what, share, most in zip(
                ("wall time", "CPU time"), suite.shares(peer), (WALL_SHARE, CPU_SHARE), strict=True
            )
        ),
        *(
            Goal(
                f"wall time of -n 2 without latency, share of -n 0's{what}",
                share,
                TWO_WORKERS_SHARE,
            )
            for what, share in (
                ("", fast[1].whole.wall / fast[0].whole.wall),
                (", both beyond start-up", fast[1].wall_beyond / fast[0].wall_beyond),
            )
        ),
        Goal("all answers stored, seconds beyond imports", beyond, STORED_SECONDS),
    ]
    text = "\n".join(
        [
            f"A server that answers after {1000 * LATENCY:g} ms:\n",
            _HEAD,
            *(one.row(peer) for one in found),
            f"| this suite, all answers stored | {again.questions:,} | {again.wall:.1f} "
            f"| {again.cpu:.1f} | | | | {again.memory:.0f} | | |",
            "\nA server without latency:\n",
            _HEAD,
            *(one.row(None) for one in fast),
            "",
            _GOALS_HEAD,
            *(goal.row() for goal in goals),
        ]
    )
    print(text)
    if options.write:
        publish("overhead", text)
    return int(any(goal.missed for goal in goals))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=ALL)
    parser.add_argument("--sample", type=int, default=2000, help="of what Inspect itself runs")
    parser.add_argument("--rounds", type=int, default=2, help="turns of what a goal concerns")
    parser.add_argument("--mmlu", type=Path, default=ROOT.parent / "shared" / "data" / "mmlu")
    parser.add_argument("--lm-eval", type=Path, default=ROOT / ".venv-bench" / "bin" / "python")
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    options = parser.parse_args()
    if not (options.mmlu / "test.jsonl").is_file():
        parser.error(f"{options.mmlu} holds no MMLU; name its folder with --mmlu")
    if not options.lm_eval.is_file():
        parser.error(f"there is no {options.lm_eval}; `make bench` makes it")
    if not FEW < options.questions <= ALL:
        parser.error(f"--questions takes a number above {FEW}, at most {ALL:,}")
    return options


if __name__ == "__main__":
    sys.exit(main())
