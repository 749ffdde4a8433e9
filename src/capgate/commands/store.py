"""`capgate store`: stores of answers that were written on several machines, put together.

`capgate store merge A B --into C` puts all that the stores A and B hold into C: answers, runs,
verdicts, questions. A store that is put in twice is there once. A and B stay as they are.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from capgate.commands.options import add_json, output_of
from capgate.config.store_place import StorePlace
from capgate.store.merge import merge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "put all that some stores hold into one"
    merging = actions.add_parser("merge", help=text, description=f"{text.capitalize()}.")
    merging.add_argument(
        "stores",
        metavar="STORE",
        nargs="+",
        help="a store, as --store names it: a file, DIR/ or postgresql://…",
    )
    merging.add_argument(
        "--into", metavar="STORE", required=True, help="the store; made if missing"
    )
    add_json(merging)


def run(options: argparse.Namespace) -> int:
    """Merges and tells what is there now; returns 0.

    Raises:
        StoreError: A store is missing, damaged, newer than this version or no store.
    """
    into = StorePlace.read(options.into)
    merged = merge([StorePlace.read(one) for one in options.stores], into)
    out = output_of(options)
    if options.json:
        out.json({"into": into.recorded(Path.cwd()), **asdict(merged)}, indent=2)
    else:
        out.line(
            f"{into}: {merged.answers:,} answers ({merged.new_answers:,} new) of "
            f"{merged.runs:,} runs ({merged.new_runs:,} new)"
        )
    return 0
