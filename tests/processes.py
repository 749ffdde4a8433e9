"""Real Python processes that start warm: each is a fork of one that has imported much already.

Most of what a short run of capgate takes is the import of Inspect and what it stands on. The
process behind `Forked` imports that once; a fork of it then becomes `python -m MODULE` or
`python SCRIPT` in a folder, an environment, a session and with a standard output of its own.
Neither pytest's plugins nor capgate is imported beforehand: each fork imports these itself.

Where such a fork is pytest with workers, a process beside it, in its session, forks these.
xdist starts them by `python -u -c …`: a launcher that hands its streams to that process stands
in Python's place, and ends as the worker does. What kills the launcher does not kill the
worker: a test that kills workers has its processes start cold.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

IMPORTED = (
    "pytest",
    "acp",
    "execnet",
    "httpx",
    "inspect_ai",
    "inspect_ai.model",
    "inspect_evals.mmlu",
    "jinja2",
    "jsonschema",
    "openai",
    "psutil",
    "rich.console",
    "scipy.stats",
)
"""What takes long to import, and is the same for each process."""

READ_BY_IMPORTS = ("PYTHON", "HF_", "LD_", "OPENBLAS_")
"""Variables that begin so are read at a process's start or by what it imports."""

_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
_AT_START = dict(os.environ)


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
    if warm and command[0] == sys.executable and _can_be_warm(command[1:], environment):
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


def _can_be_warm(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    known = arguments[0] == "-m" or not arguments[0].startswith("-")
    return known and _read_by_imports(environment) == _read_by_imports(_AT_START)


def _read_by_imports(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text
        for name, text in environment.items()
        if name.startswith(READ_BY_IMPORTS) and name != _NO_BYTECODE
    }


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
            _request(self._arguments, folder, environment) as request,
            Path(os.devnull).open() as nothing,
        ):
            _first().ask(request.fileno(), status, nothing.fileno(), *given)
        for end in {status, *given}:
            os.close(end)
        self.pid = int(self._line(time.monotonic() + 60))

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


def _request(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, apart: bool = True
) -> IO[str]:
    """A file that tells what a fork becomes; `apart` gives it a session of its own."""
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115 (the caller closes it)
    wanted = {
        "arguments": list(arguments),
        "folder": str(folder),
        "environment": dict(environment),
        "apart": apart,
    }
    json.dump(wanted, file)
    file.flush()
    return file


class _First:
    """The process that forks, as this one sees it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours
        self._lock = threading.Lock()
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=_AT_START,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ask(self, *streams: int) -> None:
        """Has one process forked: its request, its output, and where its status goes."""
        with self._lock:
            socket.send_fds(self._channel, [b"1"], streams)


@cache
def _first() -> _First:
    return _First()


def main(channel: socket.socket) -> None:
    """Imports, then forks as often as it is asked, until the other side is gone."""
    # `python SCRIPT` puts the script's own folder there.
    del sys.path[0]
    for name in IMPORTED:
        import_module(name)
    inspect: Any = import_module("inspect_ai.model")
    inspect.get_model_info("openai/gpt-4o")  # reads what is known of all models
    for point in entry_points(group="inspect_ai"):
        if point.name != "capgate":
            point.load()
    # anyio is a plugin of pytest's too, which would warn that it comes too late to rewrite it.
    plugin: Any = import_module("anyio")
    plugin.__doc__ = f"{plugin.__doc__}\nPYTEST_DONT_REWRITE"
    # What is frozen is left alone by collections, and so is not copied by a fork's.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        asked, streams, _, _ = socket.recv_fds(channel, 1, 5)
        if not asked:
            return
        _fork(streams, channel)


def _fork(streams: Sequence[int], *ours: socket.socket) -> None:
    """Forks a process that becomes what was asked for, and one that waits for its end."""
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in ours:
            one.close()
        _watch(*streams)
    for stream in streams:
        os.close(stream)


def _watch(request: int, status: int, *streams: int) -> None:
    """Forks once more; this side tells of the other's process id and end, and ends."""
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _become(request, *streams)
    for stream in (request, *streams):
        os.close(stream)
    os.write(status, b"%d\n" % pid)
    _, ended = os.waitpid(pid, 0)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _become(request: int, *streams: int) -> NoReturn:
    """Goes on as the process that was asked for; leaves by SystemExit."""
    with os.fdopen(request) as file:
        file.seek(0)
        wanted = json.load(file)
    if wanted["apart"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.dont_write_bytecode = bool(os.environ.get(_NO_BYTECODE))
    kind, *arguments = wanted["arguments"]
    if kind == "-u":  # -u [-B] -c PROGRAM
        sys.path.insert(0, "")
        sys.argv = ["-c"]
        sys.modules["__main__"] = ModuleType("__main__")
        exec(arguments[-1], vars(sys.modules["__main__"]))
    elif kind == "-m":
        sys.path.insert(0, wanted["folder"])
        module, *sys.argv[1:] = arguments
        if module == "pytest":
            raise SystemExit(_pytest(arguments[1:]))
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(kind).absolute().parent))
        sys.argv = [kind, *arguments]
        runpy.run_path(kind, run_name="__main__")
    raise SystemExit(0)


def _pytest(arguments: list[str]) -> int:
    """Runs pytest; its workers, where it has any, start warm as well."""
    import pytest

    with_workers = any(one.startswith(("-n", "--numprocesses")) for one in arguments)
    plugins = [_WarmWorkers(_fork_beside())] if with_workers else []
    return pytest.main(arguments, plugins=plugins)


class _WarmWorkers:
    """A plugin that has xdist start its workers by the launcher."""

    def __init__(self, socket_path: Path) -> None:
        self._python = shlex.join([sys.executable, "-I", "-S", __file__, str(socket_path)])

    def pytest_xdist_setupnodes(self, specs: list[Any]) -> None:
        """Replaces Python by the launcher."""
        for spec in specs:
            spec.python = self._python


def _fork_beside() -> Path:
    """Forks a process that forks workers until this one ends; returns its socket's path."""
    path = Path(tempfile.mkdtemp(prefix="workers-")) / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    gone, alive = os.pipe()  # `alive` is closed by this process's end
    if os.fork() == 0:
        os.close(alive)
        # Ctrl-C is for pytest and its workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while gone not in select.select([listener, gone], [], [])[0]:
            connection, _ = listener.accept()
            _, streams, _, _ = socket.recv_fds(connection, 1, 5)
            _fork(streams, listener, connection)
            connection.close()
        shutil.rmtree(path.parent)
        os._exit(0)
    listener.close()
    return path


def launch(socket_path: str, arguments: list[str]) -> NoReturn:
    """Has a worker forked with this process's streams, and ends as it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ours, theirs = os.pipe()
    with (
        socket.socket(socket.AF_UNIX) as channel,
        _request(arguments, Path.cwd(), os.environ, apart=False) as request,
    ):
        channel.connect(socket_path)
        socket.send_fds(channel, [b"1"], [request.fileno(), theirs, 0, 1, 2])
    os.close(theirs)
    with os.fdopen(ours) as status:
        *_, code = map(int, status)
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        main(socket.socket(fileno=int(sys.argv[1])))
    else:
        launch(sys.argv[1], sys.argv[2:])
