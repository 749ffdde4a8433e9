"""`capgate worker`: asks one of N parts of a run's questions, and judges nothing.

    capgate worker --shard 3/16 --model-id ID …     # parts are counted from 0
    capgate worker --model-id ID …                  # in a task of a Slurm array
    capgate worker --shards 16 --model-id ID …      # in an indexed job of Kubernetes

All workers need the same options and files but for --store and --endpoints. Their stores are put
together by `capgate store merge`, or they share one (--store DIR/). What is there then is judged by
`pytest benchmarks -m full --stored`, or `capgate run --stored`, with the same options. A part may
be asked again at any time: only what the store lacks is asked.

Exit codes: 0 if every question of the part has its answer, else 11. 130 after Ctrl-C, wrong usage
4.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence

from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common import exit_codes
from capgate.common.errors import CapgateError, ConfigError
from capgate.common.text import one_line
from capgate.config.option_values import positive
from capgate.config.worker_shard import WorkerShard, worker_shard
from capgate.run.slices import SlicePlan
from capgate.run.standalone import local_runs
from capgate.run.worker import WorkedSlice, Worker, plain

_WITHOUT = frozenset({"--alert", "--allow-routes", "--confirm", "--seed", "--stored"})
"""Options of a run that say nothing to a worker."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "--shard", metavar="I/N", help="the part, counted from 0 (default: as the cluster says)"
    )
    parser.add_argument(
        "--shards",
        type=positive,
        metavar="N",
        help="how many parts there are, where the cluster says only which one this is",
    )
    add_options(parser, without=_WITHOUT)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Asks the part and tells what was asked; returns the exit code.

    Raises:
        ConfigError: An option or a file is wrong.
    """
    out = output_of(options)
    shard = worker_shard(options.shard, options.shards, os.environ)
    settings = settings_of(options)
    try:
        with local_runs(settings, settings.benchmarks, one_by_one=True) as local:
            worker = Worker(
                local.runs, shard, release=local.servers.release, say=local.runs.first.say
            )
            plan, worked = worker.work()
    except ConfigError:
        raise
    except CapgateError as error:
        out.error(f"ERROR: {error}")
        return exit_codes.ERROR
    if options.json:
        out.json(
            {
                "run": local.runs.first.id,
                "part": shard.index,
                "of": shard.count,
                "plan": plan.id,
                "questions": plan.questions,
                "slices": [plain(one) for one in worked],
            },
            indent=2,
        )
    else:
        out.lines(_lines(shard, plan, worked))
    return exit_codes.PASS if all(one.complete for one in worked) else exit_codes.ERROR


def _lines(shard: WorkerShard, plan: SlicePlan, worked: Sequence[WorkedSlice]) -> Iterator[str]:
    for one in worked:
        ended = one.fault or "complete"
        if one.errors and not one.fault:
            ended = f"{one.errors:,} have no answer: {one_line(one.cause, limit=200)}"
        yield (
            f"{one.target} on {one.benchmark}: {one.questions:,} questions, {one.asked:,} asked "
            f"now; {ended}"
        )
    left = [one for one in worked if not one.complete]
    yield f"part {shard} of plan {plan.id}: " + (
        "the same command asks what is missing" if left else "complete"
    )
