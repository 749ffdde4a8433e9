"""Runs a server and ends it when its owner's process ends.

Run as `python -m capgate.serving.engines.supervisor LOG COMMAND…`. The owner holds the other end
of standard input. When the owner closes it or ends (by SIGKILL, too), this process ends the
server's whole process group. An owner that writes `DETACH` before it closes the input leaves the
server running until a SIGTERM. If the server ends first, this process ends with its exit code.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Final

from capgate.common.scratch import Scratch

GRACE_SECONDS: Final = 10.0
"""Seconds that a server may take to end after SIGTERM before it is killed."""

DETACH: Final = b"detach\n"

_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> int:
    """Runs the server's command until one of the two ends; returns the server's exit code."""
    log_path, *command = arguments
    # vLLM does not remove its sockets. Their paths may have 107 characters, so the folder is short.
    with (
        open(log_path, "ab", buffering=0) as log,  # noqa: PTH123
        Scratch("/tmp") as sockets,
    ):
        try:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"VLLM_RPC_BASE_PATH": str(sockets.path), **os.environ},
                start_new_session=True,
                # The server holds the folder open, so no cleaner removes it before the server ends.
                pass_fds=(sockets.fileno(),),
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            log.write(f"{command[0]}: {error}\n".encode())
            return 127
        # A thread, since the handler runs in the thread that waits for the server below.
        signal.signal(signal.SIGTERM, lambda *_: _in_thread(_end, server))
        _in_thread(_end_with_owner, server)
        code = server.wait()
        _signal_group(server, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _in_thread(
    function: Callable[[subprocess.Popen[bytes]], None], server: subprocess.Popen[bytes]
) -> None:
    threading.Thread(target=function, args=(server,), daemon=True).start()


def _end_with_owner(server: subprocess.Popen[bytes]) -> None:
    if sys.stdin.buffer.read() != DETACH:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    _signal_group(server, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(GRACE_SECONDS)
    _signal_group(server, signal.SIGKILL)


def _signal_group(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, number)


def _die_with_parent() -> None:
    # If this supervisor is killed, the kernel ends the server.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
