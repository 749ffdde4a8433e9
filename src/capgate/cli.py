"""The `capgate` command: each subcommand is a module of `capgate.commands`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from capgate import __version__
from capgate.commands.options import USAGE_ERROR, Parser, output_of
from capgate.common.errors import CapgateError
from capgate.common.files import FileError, told_of_files
from capgate.gate.verdict import EXIT_CODES

COMMANDS: Final = (
    "run",
    "list_models",
    "doctor",
    "report",
    "triage",
    "show",
    "history",
    "decide",
    "compare",
    "baseline",
    "rescore",
    "calibrate",
    "plan",
    "parity",
)
"""Modules of `capgate.commands`, in the order in which help lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(
        prog="capgate",
        description="Tells whether a fine-tuned language model has lost general capability.",
    )
    parser.add_argument("--version", action="version", version=f"capgate {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    modules = {}
    named = (sys.argv[1:] if arguments is None else list(arguments))[:1]
    # A command that is named needs no other; help lists them all.
    for name in [one for one in COMMANDS if [one.replace("_", "-")] == named] or COMMANDS:
        module = import_module(f"capgate.commands.{name}")
        module.add_parser(subparsers)
        modules[name.replace("_", "-")] = module
    # What `run` does not know goes to pytest as it is.
    options, rest = parser.parse_known_args(arguments)
    if options.command == "run":
        options.rest = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        with told_of_files():
            code: int = modules[options.command].run(options)
    except FileError as error:
        output_of(options).error(f"capgate: {error}")
        return EXIT_CODES["ERROR"]
    except CapgateError as error:
        output_of(options).error(f"capgate: {error}")
        return USAGE_ERROR
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say to it.
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception:
        # Python's own 1 would read as REGRESSION.
        out = output_of(options)
        out.error(traceback.format_exc())
        out.error("capgate: this is a fault of capgate itself; nothing was judged")
        return EXIT_CODES["ERROR"]
    return code


if __name__ == "__main__":
    sys.exit(main())
