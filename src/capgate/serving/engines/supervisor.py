"""Keeps a server alive for exactly as long as its owner lives.

Run as `python -m capgate.serving.engines.supervisor LOG COMMAND…`. The owner holds the other end
of standard input: when it closes it, or dies in whatever way (SIGKILL included), reading
ends and the server's whole process group is ended. An owner whose last word is `DETACH`
leaves the server running; it then ends by SIGTERM. When the server ends first, so does this
process, with its exit code.
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
"""How long a server may take to end by itself before it is killed."""

DETACH: Final = b"detach\n"

_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> int:
    """Runs the server's command and keeps watch; returns its exit code."""
    log_path, *command = arguments
    # vLLM leaves its sockets behind. Their paths may have 107 characters, so the folder's is short.
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
                # Its sockets are kept for as long as it lives.
                pass_fds=(sockets.fileno(),),
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            log.write(f"{command[0]}: {error}\n".encode())
            return 127
        # In a thread: the handler runs in the thread that waits below, which could not go on.
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
    # Should this supervisor itself be killed, the kernel ends the server.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
