"""What a process costs: wall time, CPU time and memory, as the operating system counts them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Command:
    """A process to run.

    Attributes:
        name: What it is, for messages.
        arguments: Its command line.
        folder: Where it runs.
        questions: How many questions it asks.
        environment: Variables that are added to the environment.
        ends: Exit codes that it may end with.
    """

    name: str
    arguments: list[str]
    folder: Path
    questions: int
    environment: Mapping[str, str] = field(default_factory=dict)
    ends: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        questions: Questions that it asked.
        wall: Seconds from start to end.
        cpu: CPU seconds of all its processes.
        memory: Largest resident set of one of its processes, in MiB.
        output: What it printed.
    """

    questions: int
    wall: float
    cpu: float
    memory: float
    output: str = ""


def cost_of(command: Command) -> Cost:
    """Runs a command to its end.

    Raises:
        SystemExit: It failed; with the end of its output.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out:
        child = subprocess.Popen(
            command.arguments,
            env={**_environment(), **command.environment},
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        # The usage that this returns includes that of all descendants that were waited for.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        out.seek(0)
        text = out.read()
    if child.returncode not in command.ends:
        tail = "\n".join(text.splitlines()[-15:])
        raise SystemExit(f"{command.name} failed with exit code {child.returncode}:\n{tail}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(command.questions, wall, cpu, usage.ru_maxrss / 1024, text)


def _environment() -> dict[str, str]:
    """This process's environment; a module is compiled once, as where users run it."""
    return {name: one for name, one in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def stand_in(latency: float, *options: str) -> Iterator[str]:
    """A server that answers each question after `latency` seconds; yields its URL.

    Args:
        latency: Seconds.
        options: Further options of `perf.stand_in`.
    """
    server = subprocess.Popen(
        [sys.executable, "-m", "perf.stand_in", "--latency", str(latency), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()
