"""Tables for the terminal."""

from __future__ import annotations

import io
from typing import Final

from rich.console import Console
from rich.table import Table

_WIDTH: Final = 140


def lines_of(table: Table, *, width: int = _WIDTH) -> list[str]:
    """A table as plain lines; its cells' text is shown as it is."""
    out = io.StringIO()
    Console(
        file=out, width=width, no_color=True, force_terminal=False, markup=False, emoji=False
    ).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]
