"""Stands in Python's place in a command: has a fork made of it, and ends as the fork does.

    python -I -S launch.py SOCKET SESSION -m MODULE …       or SCRIPT …, or -u -c PROGRAM

SOCKET is where `forking.py` listens, and SESSION says whether the fork gets a session of its
own: `own` or `same`. What can't start warm is started as it stands.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"

_READ_BY_IMPORTS = ("PYTHON", "HF_", "LD_", "OPENBLAS_")
"""Variables that begin so are read at a process's start or by what it imports."""


def can_be_warm(
    arguments: Sequence[str], environment: Mapping[str, str], at_start: Mapping[str, str]
) -> bool:
    """Whether a fork of a process that began in `at_start` behaves as `python ARGUMENTS` would."""
    known = arguments and (arguments[0] in {"-m", "-u"} or not arguments[0].startswith("-"))
    return bool(known) and _read_by_imports(environment) == _read_by_imports(at_start)


def _read_by_imports(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text
        for name, text in environment.items()
        if name.startswith(_READ_BY_IMPORTS) and name != NO_BYTECODE
    }


def request(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, session: str
) -> IO[str]:
    """An open file that tells `forking.py` what the fork becomes; the caller closes it."""
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115
    wanted = {
        "arguments": list(arguments),
        "folder": str(folder),
        "environment": dict(environment),
        "session": session,
    }
    json.dump(wanted, file)
    file.flush()
    return file


def ask(path: str, *streams: int) -> None:
    """Has a process forked; takes its request, where its status goes, and its three streams."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(path)
        socket.send_fds(channel, [b"1"], streams)


def main(path: str, session: str, arguments: list[str]) -> NoReturn:
    """Runs the command to its end."""
    at_start = json.loads(Path(path).with_suffix(".json").read_text())
    if not can_be_warm(arguments, os.environ, at_start):
        os.execv(sys.executable, [sys.executable, *arguments])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status, theirs = os.pipe()
    with request(arguments, Path.cwd(), os.environ, session=session) as wanted:
        ask(path, wanted.fileno(), theirs, 0, 1, 2)
    os.close(theirs)
    with os.fdopen(status) as lines:
        _, code = map(int, lines)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
