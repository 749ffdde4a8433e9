"""Lines that tell how long a server has been starting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

FIRST_LINE_SECONDS: Final = 5.0
"""Seconds of starting after which the user sees a line; the next follow at twice the time each."""


class Waiting:
    """Tells how long a server has been starting, at growing intervals to keep CI logs short.

    Args:
        what: The server's name in the lines.
        say: Shows a line.
    """

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what = what
        self._say = say
        self._began = time.monotonic()
        self._next = FIRST_LINE_SECONDS

    def tell(self) -> None:
        """Shows a line if it is time for one."""
        seconds = time.monotonic() - self._began
        if seconds >= self._next:
            self._say(f"{self._what} is still starting, {seconds:.0f} s")
            while self._next <= seconds:
                self._next *= 2

    def ready(self) -> None:
        """Shows that the server is ready, if a line was shown before."""
        if self._next > FIRST_LINE_SECONDS:
            self._say(f"{self._what} is ready after {time.monotonic() - self._began:.0f} s")
