"""A polite end by SIGTERM or SIGHUP is an interrupt like Ctrl-C, so that nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

_ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


def interrupt_on_termination(when: Callable[[], bool] = lambda: True) -> Callable[[], None]:
    """Has SIGTERM and SIGHUP do in the main thread what Ctrl-C does.

    A signal that is ignored (`nohup`) or that another part of the program handles is left
    as it is.

    Args:
        when: Whether there is anything to be ended in order; else the signal does what it
            always does.

    Returns:
        Puts things back as they were.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not when():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # An event loop that runs has its own way to take an interrupt.
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(on_ctrl_c):
            raise KeyboardInterrupt
        on_ctrl_c(signal.SIGINT, frame)

    taken = [one for one in _ENDINGS if signal.getsignal(one) is signal.SIG_DFL]
    for one in taken:
        signal.signal(one, interrupt)

    def restore() -> None:
        for one in taken:
            if signal.getsignal(one) is interrupt:
                signal.signal(one, signal.SIG_DFL)

    return restore
