"""The exit codes of the suite and of every command; pytest's own 2 to 5 keep their meaning."""

from __future__ import annotations

from typing import Final

PASS: Final = 0
REGRESSION: Final = 1
USAGE: Final = 4
"""Wrong usage; pytest's own code for it, which every command shares."""

INCONCLUSIVE: Final = 10
ERROR: Final = 11
"""Nothing could be judged. Python's own 1, for an exception, would read as REGRESSION."""

INTERRUPTED: Final = 130
"""Ended by Ctrl-C, as a shell tells it."""
