"""How well the suite keeps a real vLLM server busy, beside a bare client in the same run.

    python bench/vllm.py                      # after make test-vllm, which builds .venv-vllm
    python bench/vllm.py --questions 2000     # more of MMLU; 0 for all of it

The tiny taught model of `tests/taught` and two adapters answer questions of all 57 subjects,
under one server that `inference-server start` starts. Both contenders ask the same prompts with
the same settings and the same number of connections: base, first and second adapter one after
the other, as the suite does with vLLM's CPU build. Rates are the server's own: requests that
it finished between the first and the last, read from its `/metrics` a few times a second. Each
contender has a salt of its own for the server's prefix cache, so that none profits from the
other's requests.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.integration.vllm.conftest import PYTHON, TARGET, Checkout, Taught, make_checkout  # noqa: E402
from tests.taught.teach import BASE  # noqa: E402

ADAPTERS: Final = ("harmless", "harmful_overall")
CONNECTIONS: Final = 32
MAX_TOKENS: Final = 16

_BARE: Final = """
import asyncio, json, sys

from openai import AsyncOpenAI

async def main(url, key, path, connections, tokens, rounds):
    client = AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=300)
    with open(path) as lines:
        prompts = [json.loads(line) for line in lines]
    async def ask_all(model):
        gate = asyncio.Semaphore(connections)
        async def ask(messages):
            async with gate:
                await client.chat.completions.create(
                    model=model, messages=messages, max_tokens=tokens, temperature=0,
                    extra_body={"cache_salt": "bare"})
        await asyncio.gather(*map(ask, prompts))
    for models in rounds:
        await asyncio.gather(*map(ask_all, models))

url, key, path, connections, tokens, rounds = sys.argv[1:]
asyncio.run(main(url, key, path, int(connections), int(tokens), json.loads(rounds)))
"""


@dataclass
class Watch:
    """What the server has finished, seen from its metrics.

    Attributes:
        url: The server's root.
        marks: Time and requests finished until then, wherever that grew.
    """

    url: str
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


def start(checkout: Checkout) -> tuple[Watch, str, float]:
    """Starts the server; how to watch it, its key, and its start in seconds."""
    began = time.monotonic()
    checkout.done("inference-server", "start", TARGET)
    seconds = time.monotonic() - began
    facts = json.loads(next(checkout.home.glob("capgate/servers/*.json")).read_text())
    return Watch(facts["base_url"].removesuffix("/v1")), facts["key"], seconds


def first_answer(checkout: Checkout, *options: str) -> float:
    """Seconds from a run's start to its first stored answer, the server being up."""
    store = checkout.root / f"first-{time.monotonic_ns()}.sqlite"
    began = time.monotonic()
    process = checkout.begin(
        options=("--limit", "57", "--store", str(store), "--max-tokens", str(MAX_TOKENS), *options),
        subjects=(),
    )
    while True:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(store)) as db:
            if db.execute("SELECT count(*) FROM answers").fetchone()[0]:
                break
        time.sleep(0.02)
    seconds = time.monotonic() - began
    process.signal_group(signal.SIGINT)
    process.finish(600)
    return seconds


def prompts_of(checkout: Checkout, mmlu: Path, folder: Path) -> Path:
    """The prompts of the questions that the suite asked, as the suite sends them."""
    out = folder / "all.jsonl"
    script = ROOT / "tests" / "taught" / "prompts.py"
    subprocess.run([sys.executable, script, mmlu, out], check=True)
    store = checkout.root / "reports" / "answers.sqlite"
    with contextlib.closing(sqlite3.connect(store)) as db:
        asked = {row[0] for row in db.execute("SELECT DISTINCT question FROM answers")}
    chosen = folder / "prompts.jsonl"
    with out.open(encoding="utf-8") as rows, chosen.open("w", encoding="utf-8") as lines:
        for line in rows:
            row = json.loads(line)
            if row["hash"] in asked:
                lines.write(json.dumps(row["messages"]) + "\n")
    return chosen


def main() -> None:
    """Measures both and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=1140, help="0: all of MMLU")
    parser.add_argument("--mmlu", type=Path, default=ROOT.parent / "shared" / "data" / "mmlu")
    options = parser.parse_args()
    teach = [PYTHON, ROOT / "tests" / "taught" / "teach.py", "mmlu", "--mmlu", options.mmlu]
    made = subprocess.run(teach, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    taught = Taught(Path(made), options.mmlu)
    with tempfile.TemporaryDirectory(prefix="capgate-bench-") as name:
        folder = Path(name)
        checkout = make_checkout(folder / "project", taught, folder / "home")
        entry: dict[str, Any] = taught.entry(
            taught.folder / BASE, max_connections=CONNECTIONS, extra_body={"cache_salt": "suite"}
        )
        checkout.targets(**{TARGET: entry})
        watch, key, started = start(checkout)
        try:
            print(f"the server's own start: {started:.1f} s", flush=True)
            compare(checkout, taught, watch, key, folder, options)
        finally:
            checkout.done("inference-server", "stop", TARGET)
            checkout.close()


def compare(
    checkout: Checkout,
    taught: Taught,
    watch: Watch,
    key: str,
    folder: Path,
    options: argparse.Namespace,
) -> None:
    """Runs one after the other and prints the table."""
    paths = [taught.adapter(name) for name in ADAPTERS]
    for what, named in (("base", ()), ("base and an adapter", paths[:1])):
        flags = [f"--adapter-name={path}" for path in named]
        seconds = first_answer(checkout, *(flags or ["--measure"]))
        print(f"start of the run to the first answer, {what}: {seconds:.1f} s", flush=True)
    limit = ("--limit", str(options.questions)) if options.questions else ()
    chosen = (*limit, "--max-tokens", str(MAX_TOKENS))
    with watch():
        outcome = checkout.begin(*paths, options=chosen, subjects=()).finish(3600)
    if outcome.code not in (0, 1, 10):
        raise SystemExit(outcome.text)
    # Before the first question come what proves the adapters live, and the preflights' probes.
    suite = watch.rate(skip=12 * len(paths) + 4)
    lines = prompts_of(checkout, options.mmlu, folder)
    questions = sum(1 for _ in lines.open(encoding="utf-8"))
    for path in paths:
        checkout.done("inference-server", "load-adapter", path.name, "--path", str(path))
    rounds = json.dumps([[BASE], *([name] for name in ADAPTERS)])
    program = folder / "bare.py"
    program.write_text(_BARE, encoding="utf-8")
    arguments = [f"{watch.url}/v1", key, lines, str(CONNECTIONS), str(MAX_TOKENS), rounds]
    with watch():
        subprocess.run([sys.executable, program, *arguments], check=True)
    bare = watch.rate(skip=0)
    print(
        f"\n| client | requests | requests/s |\n|---|---|---|\n"
        f"| bare AsyncOpenAI | {3 * questions:,} | {bare:.1f} |\n"
        f"| this suite | {3 * questions:,} | {suite:.1f} |\n\n"
        f"The suite reaches {suite / bare:.0%} of the bare client's rate."
    )


if __name__ == "__main__":
    main()
