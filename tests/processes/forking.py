"""The process that imports much once, and is forked from then on.

    python forking.py LISTENER ALIVE SOCKET

LISTENER and ALIVE are open files: a listening socket, which stands at SOCKET, and the reading
side of a pipe whose other side is closed when nobody is left who would ask.
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
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from launch import NO_BYTECODE

LAUNCH = Path(__file__).with_name("launch.py")
IMPORTED = (
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


def prepare() -> None:
    """Imports what forks need."""
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


def serve(listener: socket.socket, alive: int, path: Path) -> None:
    """Forks as often as it is asked, until nobody is left who would ask."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while alive not in select.select([listener, alive], [], [])[0]:
        channel, _ = listener.accept()
        with channel:
            _, streams, _, _ = socket.recv_fds(channel, 1, 5)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            os.close(alive)
            _watch(*streams)
        for stream in streams:
            os.close(stream)
    shutil.rmtree(path.parent)


def _watch(request: int, status: int, *streams: int) -> None:
    """Forks once more; this side tells of the other's process id and end, and ends."""
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _become(request, *streams)
    for stream in (request, *streams):
        os.close(stream)
    # The process that asked may be gone: xdist kills its workers' launchers when it ends.
    with suppress(BrokenPipeError):
        os.write(status, b"%d\n" % pid)
        _, ended = os.waitpid(pid, 0)
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _become(request: int, *streams: int) -> NoReturn:
    """Goes on as the process that was asked for; leaves by SystemExit."""
    with os.fdopen(request) as file:
        file.seek(0)
        wanted = json.load(file)
    if wanted["session"] == "own":
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.dont_write_bytecode = bool(os.environ.get(NO_BYTECODE))
    kind, *arguments = wanted["arguments"]
    if kind == "-u":  # -u [-B] -c PROGRAM, by which xdist starts a worker
        sys.path.insert(0, "")
        sys.argv = ["-c"]
        sys.modules["__main__"] = ModuleType("__main__")
        exec(arguments[-1], vars(sys.modules["__main__"]))
    elif kind == "-m":
        sys.path.insert(0, wanted["folder"])
        module, *sys.argv[1:] = arguments
        if module == "pytest":
            if any(one.startswith(("-n", "--numprocesses")) for one in arguments):
                _warm_workers()
            raise SystemExit(pytest.main(arguments[1:]))
        _warm_workers()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(kind).absolute().parent))
        sys.argv = [kind, *arguments]
        _warm_workers()
        runpy.run_path(kind, run_name="__main__")
    raise SystemExit(0)


def _warm_workers() -> None:
    """Has the workers of any pytest in this process start warm as well."""
    plugin, main = _WarmWorkers(_fork_beside()), pytest.main

    def with_plugin(
        args: list[str] | None = None, plugins: Sequence[object] = ()
    ) -> int | pytest.ExitCode:
        return main(args, [*plugins, plugin])

    pytest.main = with_plugin


class _WarmWorkers:
    """A plugin that has xdist start its workers by `launch.py`."""

    def __init__(self, path: Path) -> None:
        self._python = shlex.join([sys.executable, "-I", "-S", str(LAUNCH), str(path), "same"])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: list[Any]) -> None:
        """Replaces Python by the launcher."""
        for spec in specs:
            spec.python = self._python


def _fork_beside() -> Path:
    """Forks a process that forks workers until this one ends; returns its socket's path."""
    path = Path(tempfile.mkdtemp(prefix="workers-")) / "socket"
    path.with_suffix(".json").write_text(json.dumps(dict(os.environ)))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    alive, ours = os.pipe()  # `ours` is closed by this process's end
    if os.fork() == 0:
        os.close(ours)
        # Ctrl-C is for pytest and its workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve(listener, alive, path)
        os._exit(0)
    os.close(alive)
    listener.close()
    return path


if __name__ == "__main__":
    prepare()
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3]))
