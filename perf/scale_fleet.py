"""A sweep of many adapters over several servers, of which some die."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from perf.measuring import ROOT, Command, Cost, cost_of
from perf.scale_project import SUITE, TARGET, make_adapters, make_project

SERVERS: Final = 8
CONNECTIONS: Final = 256
"""Requests in flight at a time, over all servers."""

SLOTS: Final = 16
"""Adapters that are loaded at a time."""

PACE: Final = ("--batching", "5", "1.2", "64", "8")
"""A step of 5 ms and 1.2 ms for each request in it, 8 tokens on average: a question takes 50 ms by
itself, and a server answers 97 a second where it has 64."""

SIZES: Final = {"mmlu-like": 13_937, "gsm8k-like": 1_319, "ifeval-like": 541}
"""Made-up benchmarks with as many questions as those of the suite `smoke`."""

CATCH: Final = {"mmlu-like": 0.02, "gsm8k-like": 0.05, "ifeval-like": 0.08}

_LOOKS: Final = 0.2


@dataclass
class Server:
    """A stand-in server that may be killed and started again.

    Attributes:
        port: Where it listens.
        questions: Chat requests that it answered, over all its lives.
        busy: Seconds in which it had at least one.
        lives: From when to when it was there, Unix seconds.
    """

    port: int = 0
    questions: int = 0
    busy: float = 0.0
    lives: list[tuple[float, float]] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None
    _since: float = 0.0
    _last: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Starts it, on its port where it had one."""
        arguments = [sys.executable, "-m", "perf.stand_in", "--adapters", *PACE]
        process = subprocess.Popen(
            [*arguments, "--port", str(self.port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        self.port = int(process.stdout.readline().rsplit(":", 1)[1].split("/")[0])
        self._process, self._since, self._last = process, time.time(), {}

    @property
    def url(self) -> str:
        """Its API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def look(self) -> None:
        """Remembers how busy it was so far."""
        if self._process is not None:
            try:
                with urlopen(self.url.removesuffix("v1") + "stats", timeout=2) as reply:
                    self._last = json.load(reply)
            except OSError:
                return

    def kill(self) -> None:
        """Kills it; what it had in flight is lost."""
        if self._process is None:
            return
        self.look()
        self._process.kill()
        self._process.wait()
        self.lives.append((self._since, time.time()))
        self.questions += int(self._last.get("questions", 0))
        self.busy += self._last.get("busy", 0.0)
        self._process = None


@dataclass(frozen=True)
class Figure:
    """What a sweep took.

    Attributes:
        name: What happened in it.
        cost: The command's cost.
        answers: Answers in the store, none of them twice.
        errors: Questions without an answer.
        verdicts: Verdict to number of adapters.
        asking: Seconds from the first to the last answer.
        idle: Share of the servers' time, while they were there, without a request.
        beyond: Requests that the servers answered beyond the stored answers: proofs, preflights,
            and what was on its way from a server that was killed.
    """

    name: str
    cost: Cost
    answers: int
    errors: int
    verdicts: dict[str, int]
    asking: float
    idle: float
    beyond: int

    def row(self) -> str:
        """A line of the table."""
        verdicts = ", ".join(f"{count} {name}" for name, count in sorted(self.verdicts.items()))
        return (
            f"| {self.name} | {self.answers:,} | {self.errors} | {self.asking:.0f} "
            f"| {self.answers / self.asking:,.0f} | {self.idle:.0%} | {self.beyond:,} "
            f"| {1000 * self.cost.cpu / self.answers:.2f} | {self.cost.memory:.0f} | {verdicts} |"
        )


HEAD: Final = (
    "| servers | answers | errors | seconds of asking | questions/s | servers stood idle "
    "| further requests | CPU ms an answer | peak MiB | verdicts |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def measured(folder: Path, adapters: int, lost: int, sizes: dict[str, int]) -> Iterator[Figure]:
    """Sweeps adapters over servers that live, and over servers of which two die."""
    for name, deaths in (
        (f"{SERVERS} that live", ()),
        (f"{SERVERS}: one dies, one dies and is back after 5 s", ((0, 15.0, 0.0), (1, 25.0, 5.0))),
    ):
        yield _swept(folder / f"sweep-{len(deaths)}", name, adapters, lost, sizes, deaths)


def _swept(
    folder: Path,
    name: str,
    adapters: int,
    lost: int,
    sizes: dict[str, int],
    deaths: Sequence[tuple[int, float, float]],
) -> Figure:
    with ExitStack() as stack:
        servers = [Server() for _ in range(SERVERS)]
        for server in servers:
            server.start()
            stack.callback(server.kill)
        entry = {
            "base_url": [server.url for server in servers],
            "max_connections": CONNECTIONS,
            "max_adapters": SLOTS,
        }
        root = make_project(folder, entry, sizes, catch=CATCH)
        make_adapters(root / "adapters", adapters, lost)
        program = str(Path(sys.executable).with_name("capgate"))
        arguments = [program, "sweep", "--model-id", TARGET, "--suite", SUITE, "--json"]
        command = Command(
            name, [*arguments, "--adapters", "adapters/*"], root, 0, ends=(0, 1, 10, 11)
        )
        with _fate(servers, deaths):
            cost = cost_of(command)
        for server in servers:
            server.kill()
    answers, errors, twice, first, last = _stored(root)
    if twice:
        raise SystemExit(f"{twice} questions have two answers of one model")
    data = json.loads(next((root / "reports").glob("*/sweep.json")).read_text(encoding="utf-8"))
    verdicts: dict[str, int] = {}
    for one in data["rows"]:
        verdict = f"{one['kind']} of {'lost' if 'lost-' in one['target'] else 'kept'}"
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
    asking = last - first
    lives = [life for server in servers for life in server.lives]
    there = sum(max(min(end, last) - max(start, first), 0.0) for start, end in lives)
    idle = 1 - sum(server.busy for server in servers) / there
    beyond = sum(server.questions for server in servers) - answers
    return Figure(name, cost, answers, errors, verdicts, asking, idle, beyond)


@contextmanager
def _fate(servers: list[Server], deaths: Sequence[tuple[int, float, float]]) -> Iterator[None]:
    """Looks at the servers, kills some of them at their times and has them back."""
    over = threading.Event()
    began = time.monotonic()

    def watch() -> None:
        due = [(at, servers[one].kill) for one, at, _ in deaths]
        due += [(at + back, servers[one].start) for one, at, back in deaths if back]
        due.sort(key=lambda one: one[0])
        while not over.wait(_LOOKS):
            while due and time.monotonic() - began >= due[0][0]:
                due.pop(0)[1]()
            for server in servers:
                server.look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _stored(root: Path) -> tuple[int, int, int, float, float]:
    """Answers, errors, answers that are there twice, and the times of the first and the last."""
    with closing(sqlite3.connect(root / "reports" / "answers.sqlite")) as db:
        query = (
            "SELECT COUNT(*), COUNT(*) - COUNT(DISTINCT context || question), MIN(created), "
            "MAX(created) FROM answers WHERE state != 'error'"
        )
        answers, twice, first, last = db.execute(query).fetchone()
        (errors,) = db.execute("SELECT COUNT(*) FROM answers WHERE state = 'error'").fetchone()
    return answers, errors, twice, first, last
