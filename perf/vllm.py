"""How well the suite keeps a real vLLM server busy, and how soon it asks its first question.

    make bench-vllm                                # needs MMLU, as make test-vllm does
    make bench-vllm ARGS='--questions 0'           # all of MMLU

The tiny taught model of `scripts/taught` and two adapters answer questions of all 57 subjects under
one server. Three clients take turns, in several rounds: aiohttp alone, AsyncOpenAI alone, and this
suite. All ask the same prompts with the same settings over as many connections: base, first and
second adapter one after the other, as the suite does with vLLM's CPU build. Rates are the server's
own: requests that it finished between the first question and the last, read from its `/metrics` a
few times a second. Each turn has a salt of its own for the server's prefix cache, so that none
profits from another's requests.

The server has the form that vLLM has on one GPU: the worker runs inside of the engine's process.
By itself the CPU build starts two that wait for each other in a busy loop, which takes both cores
of a small machine from the process that asks; `--busy` measures it so.

The start is that of a run which starts its server itself: from the command to the first answer
that is stored, less what the server's process takes from its birth until it is healthy.

Exit codes: 0, or 1 where the suite reaches less than 95 % of the fastest bare client's rate or
needs more than 5 s beyond the server's own start.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, Final, NamedTuple, TypeVar

import psutil

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perf.project import TARGET, Project  # noqa: E402
from perf.tables import publish  # noqa: E402
from scripts.taught.prompts import export  # noqa: E402
from scripts.taught.served import PYTHON, Taught  # noqa: E402
from scripts.taught.teach import BASE  # noqa: E402

from capgate.benchmarks.mmlu.load import load_questions  # noqa: E402
from capgate.benchmarks.mmlu.subjects import SUBJECTS  # noqa: E402

_ONE_PROCESS: Final = ("--distributed-executor-backend=uni",)
_ONE_PROCESS_ENV: Final = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
"""Without the first of them, the CPU build still starts a worker process."""

ADAPTERS: Final = ("harmless", "harmful_overall")
CONNECTIONS: Final = 32
MAX_TOKENS: Final = 16
SHARE: Final = 0.95
"""The share of the fastest bare client's rate that the suite must reach."""

BEYOND: Final = 5.0
"""Most seconds of a run's start that are not the server's own."""

BARE: Final = ("aiohttp", "AsyncOpenAI")
BARE_CLIENT: Final = Path(__file__).with_name("bare_client.py")
SUITE: Final = "this suite"

_T = TypeVar("_T")


class Start(NamedTuple):
    """How long a run that starts its server takes to its first answer; all in seconds.

    Attributes:
        before: From the command to the birth of the server's process.
        own: From there until the server is healthy.
        after: From there to the first answer that is stored.
    """

    before: float
    own: float
    after: float

    @property
    def beyond(self) -> float:
        """All but the server's own."""
        return self.before + self.after


@dataclass
class Watch:
    """What the server has finished, seen from its metrics.

    Attributes:
        url: The server's root.
        key: Its key.
        marks: Time and requests finished until then, wherever that grew.
    """

    url: str
    key: str
    marks: list[tuple[float, float]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def finished(self) -> float:
        """Requests that the server has finished."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as reply:
            text = reply.read().decode()
        found = re.findall(r"^vllm:request_success_total\{[^}]*\} (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Watches for the length of a block."""
        self.marks = [(time.monotonic(), self.finished())]
        self._over.clear()
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.25):
            now = self.finished()
            if now > self.marks[-1][1]:
                self.marks.append((time.monotonic(), now))

    def rate(self, *, skip: int) -> float:
        """Requests a second, from the first mark beyond `skip` requests to the last."""
        start = self.marks[0][1] + skip
        first = next(mark for mark in self.marks if mark[1] > start)
        last = self.marks[-1]
        return (last[1] - first[1]) / (last[0] - first[0])


@dataclass
class Bench:
    """One server and its clients.

    Attributes:
        project: Where the suite runs.
        taught: The model.
        folder: For files.
        questions: The `--limit` of the suite; 0 for all.
        busy: Leave the server the processes that its CPU build starts by itself.
    """

    project: Project
    taught: Taught
    folder: Path
    questions: int
    busy: bool = False

    @property
    def adapters(self) -> list[Path]:
        """The adapters' folders."""
        return [self.taught.adapter(name) for name in ADAPTERS]

    @property
    def options(self) -> tuple[str, ...]:
        """The suite's options that the bare clients follow."""
        limit = ("--limit", str(self.questions)) if self.questions else ()
        return (*limit, "--max-tokens", str(MAX_TOKENS))

    def prompts(self) -> Path:
        """The prompts of the questions that the suite asks, as the suite sends them."""
        source = str(self.taught.dataset)
        chosen = load_questions(source, shots=0).select(SUBJECTS, self.questions or None)
        asked = {question.hash for question in chosen}
        path = self.folder / "prompts.jsonl"
        with path.open("w", encoding="utf-8") as lines:
            for row in export(source):
                if row["hash"] in asked:
                    lines.write(json.dumps(row["messages"]) + "\n")
        return path

    def configure(self, salt: str) -> None:
        """Writes the target, whose requests carry the salt."""
        entry: dict[str, Any] = self.taught.entry(
            self.taught.folder / BASE, max_connections=CONNECTIONS, extra_body={"cache_salt": salt}
        )
        if not self.busy:
            serve = entry["serve"]
            entry["serve"] = {
                **serve,
                "args": [*serve["args"], *_ONE_PROCESS],
                "env": _ONE_PROCESS_ENV,
            }
        self.project.target(entry)

    def start_up(self, *adapters: Path) -> Start:
        """Runs the suite, without a server that is up, until it has its first answer."""
        store = self.folder / f"first-{time.monotonic_ns()}.sqlite"
        began = time.time()
        measure = () if adapters else ("--measure",)
        process = self.project.begin(
            *adapters, options=(*self.options, "--store", str(store), *measure)
        )
        server = awaited(lambda: _server_under(process.pid))
        born = server.create_time()
        (port,) = (arg.split("=")[1] for arg in server.cmdline() if arg.startswith("--port="))
        awaited(lambda: _healthy(f"http://127.0.0.1:{port}"))
        healthy = time.time()
        awaited(lambda: _answered(store))
        answered = time.time()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=600)
        return Start(born - began, healthy - born, answered - healthy)

    def start(self) -> Watch:
        """Starts the server that all clients ask; how to watch it."""
        self.project.done("start", TARGET)
        facts = json.loads(next(self.project.home.glob("capgate/servers/*.json")).read_text())
        for path in self.adapters:
            self.project.done("load-adapter", path.name, "--path", str(path))
        return Watch(facts["base_url"].removesuffix("/v1"), facts["key"])

    def suite(self, watch: Watch, salt: str) -> float:
        """The server's rate under the suite."""
        self.configure(salt)
        store = ("--store", str(self.folder / f"{salt}.sqlite"))
        with watch():
            process = self.project.begin(*self.adapters, options=(*self.options, *store))
            text, _ = process.communicate(timeout=3600)
        if process.returncode not in (0, 1, 10):
            raise SystemExit(text)
        # Before the first question come what proves the adapters live, and the preflights' probes.
        return watch.rate(skip=12 * len(ADAPTERS) + 4)

    def bare(self, watch: Watch, which: str, prompts: Path, salt: str) -> float:
        """The server's rate under a bare client."""
        models = json.dumps([BASE, *ADAPTERS])
        given = [f"{watch.url}/v1", watch.key, prompts, CONNECTIONS, models, salt, MAX_TOKENS]
        with watch():
            subprocess.run([sys.executable, BARE_CLIENT, which, *map(str, given)], check=True)
        return watch.rate(skip=0)


def awaited(get: Callable[[], _T | None], seconds: float = 600.0) -> _T:
    """The first true value that `get` returns.

    Raises:
        SystemExit: It was not in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := get()):
        if time.monotonic() > deadline:
            raise SystemExit(f"a run showed nothing within {seconds:g} s")
        time.sleep(0.05)
    return found


def _server_under(pid: int) -> psutil.Process | None:
    """The server among the processes that a run has started."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.cmdline()[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]:
                    return child
    return None


def _healthy(root: str) -> bool:
    try:
        with urllib.request.urlopen(f"{root}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _answered(store: Path) -> bool:
    if not store.exists():
        return False
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(store)) as db:
        return bool(db.execute("SELECT count(*) FROM answers").fetchone()[0])
    return False


def main() -> int:
    """Measures, prints the table, and says whether the suite is as fast as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=5700, help="of each model; 0: all of MMLU")
    parser.add_argument("--busy", action="store_true", help="a worker's process beside the engine")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each client, at least 2")
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    parser.add_argument("--mmlu", type=Path, default=ROOT.parent / "shared" / "data" / "mmlu")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("one round tells nothing: the machine's speed changes between turns")
    teach = [PYTHON, ROOT / "scripts" / "taught" / "teach.py", "mmlu", "--mmlu", options.mmlu]
    made = subprocess.run(teach, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    taught = Taught(Path(made), options.mmlu)
    with tempfile.TemporaryDirectory(prefix="capgate-bench-") as name:
        folder = Path(name)
        project = Project.make(folder / "project", folder / "home")
        bench = Bench(project, taught, folder, options.questions, options.busy)
        bench.configure("start")
        try:
            start, late = start_ups(bench, options.rounds)
            print(start, flush=True)
            rate, slow = rates(bench, options.rounds)
            print(f"\n{rate}")
        finally:
            project.stop()
    if options.write:
        publish("vllm", f"{start}\n\n{rate}")
    return int(late or slow)


def start_ups(bench: Bench, rounds: int) -> tuple[str, bool]:
    """Measures a run's start: the table, and whether it takes too long."""
    rows = ["| start, s | before the server's | the server's own | after it | beyond its own |"]
    rows.append("|---|---|---|---|---|")
    late = False
    for what, adapters in (("base", []), ("base and two adapters", bench.adapters)):
        each = [bench.start_up(*adapters) for _ in range(rounds)]
        beyond = [one.beyond for one in each]
        columns = " | ".join(_each(part) for part in (*zip(*each, strict=True), beyond))
        rows.append(f"| {what} | {columns} |")
        late |= mean(beyond) > BEYOND
    if late:
        rows.append(f"\nToo late: more than {BEYOND:g} s beyond the server's own start.")
    return "\n".join(rows), late


def rates(bench: Bench, rounds: int) -> tuple[str, bool]:
    """Measures the server's rate under each client: the table, and whether it is too low."""
    prompts = bench.prompts()
    with prompts.open(encoding="utf-8") as lines:
        requests = (1 + len(ADAPTERS)) * sum(1 for _ in lines)
    watch = bench.start()
    found: dict[str, list[float]] = {client: [] for client in (*BARE, SUITE)}
    for number in range(rounds):
        # Each comes first and last in turn, so that no drift of the machine favours one.
        for client in list(found)[:: -1 if number % 2 else 1]:
            salt = f"{client}-{number}".replace(" ", "-")
            if client == SUITE:
                rate = bench.suite(watch, salt)
            else:
                rate = bench.bare(watch, client, prompts, salt)
            found[client].append(rate)
            print(f"round {number + 1}, {client}: {rate:.1f} requests/s", file=sys.stderr)
    means = {client: mean(each) for client, each in found.items()}
    fastest = max(means[client] for client in BARE)
    rows = [f"| client | requests/s, {requests:,} in each round | this suite's share of its rate |"]
    rows.append("|---|---|---|")
    for client, each in found.items():
        rows.append(f"| {client} | {_each(each)} | {means[SUITE] / means[client]:.0%} |")
    slow = means[SUITE] < SHARE * fastest
    if slow:
        rows.append(f"\nToo slow: less than {SHARE:.0%} of the fastest bare client's rate.")
    return "\n".join(rows), slow


def _each(values: tuple[float, ...] | list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


if __name__ == "__main__":
    # The shell's way to end a script must end the server too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
