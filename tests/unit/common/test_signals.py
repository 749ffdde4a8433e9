"""What SIGTERM and SIGHUP do to a process that has something to end in order."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys, time
from capgate.common.signals import interrupt_on_termination
{before}
restore = interrupt_on_termination(lambda: {when})
try:
    print("ready", flush=True)
    for line in sys.stdin: print("heard", flush=True)
except KeyboardInterrupt:
    restore()
    print("in order", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
"""


def ended(number: signal.Signals, *, when: bool = True, before: str = "") -> tuple[int, str]:
    """Exit code and last words of a process that got a signal."""
    program = PROGRAM.format(when=when, before=before)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        try:
            process.stdin.write("still there?\n")
            process.stdin.close()
        except BrokenPipeError:
            pass
        words = process.stdout.read().strip()
    return process.returncode, words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_in_order(number: signal.Signals) -> None:
    """The signal is an interrupt in the main thread; afterwards it is what it was."""
    # Where the tests themselves run under nohup, a process of theirs ignores SIGHUP.
    before = f"signal.signal({int(number)}, signal.SIG_DFL)"
    assert ended(number, before=before) == (0, "in order True")


def test_with_an_ignored_ctrl_c() -> None:
    """In a shell's background Ctrl-C is ignored; SIGTERM still ends it in order."""
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    assert ended(signal.SIGTERM, before=before) == (0, "in order True")


def test_nothing_to_end() -> None:
    """Where there is nothing to end, the signal does what it always does."""
    assert ended(signal.SIGTERM, when=False) == (-signal.SIGTERM, "")


def test_nohup_is_kept() -> None:
    """A process that ignores SIGHUP still does."""
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    assert ended(signal.SIGHUP, before=before) == (0, "heard")
