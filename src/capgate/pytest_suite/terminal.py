"""Lines that a session shows while it runs, without secrets and without control characters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from capgate.common.text import harmless
from capgate.config.settings import Settings


class Terminal:
    """Where a session shows its lines.

    Args:
        config: pytest's configuration.
        settings: Gives the run's settings, which say where secrets are.
    """

    def __init__(self, config: pytest.Config, settings: Callable[[], Settings]) -> None:
        self._config = config
        self._settings = settings
        self._told: set[str] = set()

    def show(self, line: str, *, always: bool = False) -> None:
        """Shows a line of progress; with `-q` only where it is to be shown `always`."""
        line, plugins = self.fit(line), self._config.pluginmanager
        terminal = plugins.get_plugin("terminalreporter")
        if terminal is None or (self._config.get_verbosity() < 0 and not always):
            return
        capture = plugins.get_plugin("capturemanager")
        if capture is not None and not plugins.has_plugin("dsession"):
            with capture.global_and_fixture_disabled():
                _write(terminal, line)
        else:
            _write(terminal, line)

    def tell(self, topic: str, line: str) -> None:
        """Shows a line, unless one of the same topic was shown before."""
        if topic not in self._told:
            self._told.add(topic)
            self.show(line, always=True)

    def fit(self, text: str) -> str:
        """A text as it may be shown: without secrets, and no command to a terminal or log."""
        from capgate.config.secrets import redactor_for

        return harmless(redactor_for(self._settings).text(text))


def _write(terminal: pytest.TerminalReporter, line: str) -> None:
    terminal.ensure_newline()
    # pytest-xdist's dots belong to no file, and pytest takes them for a finished line.
    writer = terminal.config.get_terminal_writer()
    if writer.width_of_current_line:
        writer.line()
    terminal.write_line(line)
