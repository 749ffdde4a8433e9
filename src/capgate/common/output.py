"""The one way by which commands write: nothing secret, and nothing that acts.

What a server, a model or a file says is shown by many commands. All of it passes here: known
and likely secrets are cut out, control characters are shown as escapes, and no line can be a
command of GitHub Actions or another CI service, in JSON as in plain text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from capgate.common.redact import Redactor
from capgate.common.text import harmless, json_text


class Output:
    """A command's standard output and standard error.

    Args:
        redactor: Makes what knows the project's secrets; called at the first word.
    """

    def __init__(self, redactor: Callable[[], Redactor] = Redactor.of_environment) -> None:
        self._make = redactor
        self._hidden: set[str] = set()

    @cached_property
    def _redactor(self) -> Redactor:
        return self._make().and_also(self._hidden)

    def hide(self, secret: str | None) -> None:
        """Cuts out a further secret, such as the key of a server that was started here."""
        if secret:
            self._hidden.add(secret)
            self.__dict__.pop("_redactor", None)

    def fit(self, text: str) -> str:
        """Returns `text` as it may be shown; for a table, whose layout must know its cells."""
        return harmless(self._redactor.text(text))

    def line(self, text: str = "") -> None:
        """Writes one line, or the lines that `text` has, at once."""
        print(self.fit(text), flush=True)

    def lines(self, lines: Iterable[str]) -> None:
        """Writes lines, at once; nothing where there are none."""
        if shown := [self.fit(line) for line in lines]:
            print("\n".join(shown))

    def error(self, text: str) -> None:
        """Writes to standard error."""
        print(self.fit(text), file=sys.stderr)

    def json(self, value: Any, *, indent: int | None = None) -> None:  # noqa: ANN401 (plain)
        """Writes a plain value as JSON; a number that JSON has no form of becomes null."""
        print(json_text(self._redactor.data(value), indent=indent))

    def workflow_command(self, text: str) -> None:
        """Writes a command of GitHub Actions that is our own, and whose parts are escaped."""
        print(self._redactor.text(text))
