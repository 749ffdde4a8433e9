"""`capgate open`: all runs of the reports folder in a browser, and how far a run has come.

Serves the folder on 127.0.0.1 under an address that holds a random token, so that no other user
of this machine can read it, and opens a browser there. Where there is no display, or with
--no-browser, it prints the address alone. It shows each run's verdict, drop and report, each
target's trend, sweeps, and what runs now; it changes nothing. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import webbrowser
from contextlib import ExitStack
from html import escape
from pathlib import Path
from typing import Final

from capgate.commands.options import add_options, output_of, settings_of
from capgate.common import exit_codes
from capgate.common.private_files import own_file
from capgate.common.scratch import Scratch
from capgate.common.signals import interrupt_on_termination
from capgate.config.secrets import project_redactor
from capgate.report.site.folder import ReportsFolder
from capgate.report.site.progress import LiveProgress
from capgate.report.site.server import Site

_PORTS: Final = range(65_536)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "--port", type=_port, default=0, metavar="N", help="the port (default: a free one)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    add_options(parser, only={"--output-dir", "--store"})


def run(options: argparse.Namespace) -> int:
    """Serves until Ctrl-C; returns 0.

    Raises:
        ConfigError: The port can't be used, or an option is wrong.
    """
    settings = settings_of(options)
    redactor = project_redactor(settings)
    out = output_of(options)
    folder = settings.output_dir
    progress = LiveProgress(settings.store, folder)
    with ExitStack() as held:
        site = held.enter_context(Site(ReportsFolder(folder), progress, redactor, options.port))
        try:
            held.callback(interrupt_on_termination())
            out.line(f"{folder.name}/ is shown at {site.url}")
            out.line("Ctrl-C ends it")
            if not options.no_browser and _has_display():
                _open_browser(site.url, held.enter_context(Scratch()).path)
            site.serve_forever()
        except KeyboardInterrupt:
            # It is how the command is ended.
            return exit_codes.PASS
    return exit_codes.PASS


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) in _PORTS):
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _has_display() -> bool:
    """Whether a browser could open a window; one in the terminal would take that over."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_browser(url: str, folder: Path) -> None:
    """Opens the user's browser by a file of this user's alone.

    Other users of the machine can see a browser's arguments, which so do not hold the token.
    """
    file = folder / "open.html"
    own_file(file)
    file.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(url)}">'
        f'<title>capgate</title><a href="{escape(url)}">capgate</a>',
        encoding="utf-8",
    )
    # It may wait until the browser is closed.
    threading.Thread(target=webbrowser.open, args=(file.as_uri(),), daemon=True).start()
