"""Real Python processes that start warm: each is a fork of one that has imported much already.

Most of what a short run of capgate takes is the import of Inspect and what it stands on. The
process of `forking.py` imports that once; a fork of it then becomes `python -m MODULE` or
`python SCRIPT` in a folder, an environment, a session and with streams of its own. Neither
pytest's plugins nor capgate is imported beforehand: each fork imports these itself.

Where such a fork is pytest with workers, a process beside it, in its session, forks these.
xdist starts them by `python -u -c …`: `launch.py` stands in Python's place, hands its streams
on, and ends as the worker does. What kills the launcher does not kill the worker: a test that
kills workers has its processes start cold.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.processes.launch import ask, can_be_warm, request

_HERE = Path(__file__).parent
_AT_START = dict(os.environ)
START_SECONDS = 300.0
"""Most that the imports may take on a busy machine."""

_SHIMS = {"python": (), "pytest": ("-m", "pytest"), "capgate": ("-m", "capgate.cli")}


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout: float,
    *,
    apart: bool = False,
) -> tuple[int, str, str]:
    """Runs a command to its end, warm where it can be.

    Args:
        command: What to run; `sys.executable` stands for Python.
        folder: Its working directory.
        environment: All of its environment.
        timeout: Seconds after which it is ended, and TimeoutExpired raised.
        apart: Whether standard error is read by itself.

    Returns:
        Its exit code, its standard output and its standard error; the latter two as one
        unless `apart`.
    """
    process = start(command, folder, environment, apart=apart)
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        raise
    texts = [(raw or b"").decode("utf-8", "replace") for raw in (output, errors)]
    assert process.returncode is not None
    return process.returncode, texts[0], texts[1]


def start(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    apart: bool = False,
    warm: bool = True,
) -> subprocess.Popen[bytes] | Forked:
    """Starts a command in a session of its own, without standard input; see `run`."""
    python = command[0] == sys.executable
    if warm and python and can_be_warm(command[1:], environment, _AT_START):
        return Forked(command[1:], folder, environment, apart=apart)
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if apart else subprocess.STDOUT,
        start_new_session=True,
    )


def write_shims(folder: Path) -> None:
    """Writes `python`, `pytest` and `capgate` that start warm, for make and shells."""
    begin = f'#!/bin/sh\nexec "{sys.executable}" -I -S "{_HERE / "launch.py"}" "{_first()[0]}" own'
    for name, arguments in _SHIMS.items():
        file = folder / name
        file.write_text(" ".join([begin, *arguments, '"$@"\n']))
        file.chmod(0o755)


class Forked:
    """A running fork, with what `subprocess.Popen` offers to tests.

    Args:
        arguments: `-m MODULE ARGUMENTS` or `SCRIPT ARGUMENTS`.
        folder: Its working directory.
        environment: All of its environment.
        apart: Whether standard error is read by itself.

    Attributes:
        pid: Its process id, and that of its session and process group.
        returncode: Its exit code, or minus the signal that ended it; None while it runs.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        apart: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self._arguments = list(map(str, arguments))
        self._status, status = os.pipe()
        output, theirs = os.pipe()
        self._open, given = {output: 0}, [theirs, theirs]
        if apart:
            errors, given[1] = os.pipe()
            self._open[errors] = 1
        self._said = [bytearray(), bytearray()]
        with (
            request(self._arguments, folder, environment, session="own") as wanted,
            Path(os.devnull).open() as nothing,
        ):
            ask(_first()[0], wanted.fileno(), status, nothing.fileno(), *given)
        for end in {status, *given}:
            os.close(end)
        self.pid = int(self._line(time.monotonic() + START_SECONDS))

    def communicate(self, timeout: float) -> tuple[bytes, bytes]:
        """Waits for its end; returns what it and its children wrote to output and errors."""
        deadline = time.monotonic() + timeout
        while self._open:
            for stream in self._ready(list(self._open), deadline):
                if piece := os.read(stream, 65536):
                    self._said[self._open[stream]] += piece
                else:
                    del self._open[stream]
                    os.close(stream)
        if self.returncode is None:
            self.returncode = int(self._line(deadline))
            os.close(self._status)
        return bytes(self._said[0]), bytes(self._said[1])

    def kill(self) -> None:
        """Sends SIGKILL to it alone."""
        os.kill(self.pid, signal.SIGKILL)

    def _line(self, deadline: float) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            (stream,) = self._ready([self._status], deadline)
            piece = os.read(stream, 1)
            assert piece, "the process that forks has ended"
            found += piece
        return found

    def _ready(self, streams: list[int], deadline: float) -> list[int]:
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(streams, [], [], left)
        if not ready:
            raise subprocess.TimeoutExpired(self._arguments, left)
        return ready


@cache
def _first() -> tuple[str, subprocess.Popen[bytes]]:
    """The process that is forked and where it listens; it is started by the first call.

    It ends with this process, which holds the writing side of a pipe to it.
    """
    path = Path(tempfile.mkdtemp(prefix="warm-")) / "socket"
    path.with_suffix(".json").write_text(json.dumps(_AT_START))
    alive, _ = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        files = (listener.fileno(), alive)
        process = subprocess.Popen(
            [sys.executable, str(_HERE / "forking.py"), *map(str, files), str(path)],
            env=_AT_START,
            pass_fds=files,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    os.close(alive)
    return str(path), process
