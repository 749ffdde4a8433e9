"""The `capgate` command: each subcommand is a module of `capgate.commands`.

A command's module has `add_arguments`, which adds its arguments to its parser, and `run`, which
carries it out and returns the exit code; its docstring is the command's description. Only the
module of the command that is asked for is imported, so that it can import at its top what it
needs, and `capgate --help` stays fast.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Final

from capgate import __version__
from capgate.commands.carry_out import carry_out
from capgate.commands.options import Parser, output_of
from capgate.common.output import Output

COMMANDS: Final[Mapping[str, str]] = {
    "init": "write a project's files: targets, thresholds, a test, a CI recipe",
    "run": "run the benchmark under pytest",
    "list-models": "list the targets of config/models.yaml",
    "list-benchmarks": "list the benchmarks: questions, groups, what each can see, suites",
    "questions": "write a benchmark's questions to a folder, for machines without the hub",
    "doctor": "check the setup",
    "open": "show all runs in a browser, and how far a run has come",
    "report": "make a run's HTML report, or its GitHub comment",
    "triage": "list the questions that flipped, and why",
    "show": "show one question of a run in full",
    "history": "show accuracy and verdicts over time",
    "decide": "judge per-question answers made anywhere",
    "compare": "judge one stored run by another",
    "worker": "ask one of N parts of a run's questions, on one of N machines",
    "baseline": "record, diff, update and lint recorded baselines",
    "store": "put the stores of several machines together",
    "rescore": "score stored answers again: did the model change, or only the scoring?",
    "calibrate": "measure how often the gate is wrong about this target",
    "plan": "questions, time, tokens, cost and the smallest visible drop of a verdict to come",
    "sweep": "find the adapters that lost capability, among many",
    "parity": "compare an adapter on its base with its merged weights",
}
"""Name of each command to its line in help, in help's order.

The module of a command has its name, with `_` for `-`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    named = next((one for one in given if not one.startswith("-")), "")
    if named not in COMMANDS:
        # Help, the version, or wrong usage: the parser ends the process.
        _parser().parse_args(given)
    options = argparse.Namespace()

    def action() -> int:
        module = import_module(f"capgate.commands.{named.replace('-', '_')}")
        parser = _parser(module, named)
        # What `run` does not know goes to pytest as it is.
        _, rest = parser.parse_known_args(given, options)
        if named == "run":
            options.rest = rest
        elif rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        code: int = module.run(options)
        return code

    return carry_out("capgate", action, lambda: output_of(options) if vars(options) else Output())


def _parser(module: ModuleType | None = None, named: str = "") -> Parser:
    """The parser of all commands, with the arguments of one."""
    parser = Parser(
        prog="capgate",
        description="Tells whether a fine-tuned language model has lost general capability.",
    )
    parser.add_argument("--version", action="version", version=f"capgate {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        command = subparsers.add_parser(
            name, help=line, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if module is not None and name == named:
            command.description = module.__doc__
            module.add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
