"""`capgate rescore`: did the model change, or only the harness that scores it?

    capgate rescore RUN                   # a stored run's answers, by today's scorer
    capgate rescore --baseline TARGET     # a baseline's, and how far the newest run is from it
    capgate rescore RUN --baseline TARGET
    capgate rescore RUN --benchmark gsm8k # another benchmark than MMLU

The exit code is 1 if today's scorer reads any stored answer differently, else 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from capgate.asking.rescore import (
    Moves,
    Record,
    Rescored,
    moves,
    record_of_baseline,
    record_of_run,
    rescore,
)
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.baseline_file import recorded_baseline
from capgate.commands.options import add_json, add_options, output_of, settings_of
from capgate.common.answers import Answer
from capgate.common.errors import ConfigError
from capgate.common.text import one_line, printable
from capgate.config.chosen_benchmarks import recorded_benchmark
from capgate.config.run_options import FILES
from capgate.config.settings import Settings
from capgate.store.baselines import Baseline
from capgate.store.open_store import is_there, stored
from capgate.store.runs import StoredRun, find_run, newest_whole, read_run

_SHOWN: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "of_run", nargs="?", metavar="RUN", help="id as in reports/, latest, or a report.json"
    )
    parser.add_argument("--baseline", metavar="TARGET", dest="of_baseline", help="its baseline")
    parser.add_argument("--target", metavar="ID", help="the run's target (default: the one judged)")
    parser.add_argument(
        "--benchmark",
        dest="of_benchmark",
        metavar="NAME",
        default=MMLU,
        help="whose answers to score (default: mmlu)",
    )
    add_options(parser, only=FILES | {"--dataset"})
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Scores again and prints; returns 1 if any answer is read differently.

    Raises:
        CapgateError: There is nothing to score, or its questions can't be loaded.
    """
    if options.of_run is None and options.of_baseline is None:
        raise ConfigError(
            "nothing was named to be scored again",
            remedy="capgate rescore RUN, or capgate rescore --baseline TARGET",
        )
    settings = settings_of(options)
    records = _records(options, settings)
    rescored = [_rescored(record, settings) for record in records]
    model = moves(rescored[0], rescored[1]) if len(rescored) == 2 else None
    out = output_of(options)
    if options.json:
        out.json(_plain(rescored, model), indent=2)
    else:
        out.lines(_lines(rescored, model))
    return 1 if any(one.changed for one in rescored) else 0


def _records(options: argparse.Namespace, settings: Settings) -> list[Record]:
    """The records to score: a baseline first, then a run."""
    benchmark: str = options.of_benchmark
    if options.of_baseline is None:
        with stored(settings.store) as store:
            run = find_run(store, options.of_run)
            one = read_run(store, run, options.target, benchmark=benchmark)
            return [_of_run(one, settings)]
    baseline = recorded_baseline(settings, options.of_baseline, benchmark)
    if options.of_run is None and not is_there(settings.store):
        return [_of_baseline(baseline, {}, settings)]
    with stored(settings.store) as store:
        used = store.used(baseline.run, baseline.target, benchmark=benchmark)
        first = _of_baseline(baseline, {s.answer.question: s.answer for s in used}, settings)
        target = options.target or baseline.target
        if options.of_run is not None:
            run = find_run(store, options.of_run)
            other = read_run(store, run, target, benchmark=benchmark)
            return [first, _of_run(other, settings)]
        newest = newest_whole(store, target, benchmark=benchmark)
        if newest is None or newest.id == baseline.run:
            return [first]
        return [first, _of_run(newest, settings)]


def _of_run(run: StoredRun, settings: Settings) -> Record:
    asked = recorded_benchmark(settings, run.benchmark, run.task, run.max_tokens)
    return record_of_run(run, asked)


def _of_baseline(baseline: Baseline, kept: Mapping[str, Answer], settings: Settings) -> Record:
    limit = baseline.identity["generation"]["max_tokens"]
    asked = recorded_benchmark(settings, baseline.benchmark, baseline.task, limit)
    return record_of_baseline(baseline, asked, kept)


def _rescored(record: Record, settings: Settings) -> Rescored:
    source = settings.dataset or record.dataset["source"]
    questions = record.benchmark.load(source).questions
    return rescore(record, questions, partial(print, file=sys.stderr))


def _plain(rescored: list[Rescored], model: Moves | None) -> dict[str, Any]:
    return {
        "rescored": [
            {
                "record": one.record.name,
                "target": one.record.target,
                **_named(one.record.benchmark.name),
                "n": len(one.readings),
                "accuracy_then": one.then,
                "accuracy_now": one.now,
                "harness_moved": one.now - one.then,
                "prompt_changed": one.prompt_hash != one.record.prompt_hash,
                "version_change": one.version_change,
                "texts_not_kept": one.record.lost,
                "unknown_questions": one.unknown,
                "read_otherwise": [asdict(reading) for reading in one.changed],
            }
            for one in rescored
        ],
        "model": None if model is None else asdict(model) | {"moved": model.after - model.before},
    }


def _named(benchmark: str) -> dict[str, str]:
    return {} if benchmark == MMLU else {"benchmark": benchmark}


def _lines(rescored: list[Rescored], model: Moves | None) -> Iterator[str]:
    for one in rescored:
        name = one.record.benchmark.name
        on = "" if name == MMLU else f" on {name}"
        yield (
            f"{one.record.target}{on}: {one.record.name}, {len(one.readings):,} "
            "answers scored again"
        )
        yield (
            f"  accuracy {one.then:.2%} then, {one.now:.2%} by today's scorer; "
            f"{len(one.changed):,} answers are read otherwise"
        )
        same = one.prompt_hash == one.record.prompt_hash
        yield (
            "  the prompt is the same"
            if same
            else f"  the prompt has changed ({one.record.prompt_hash} → {one.prompt_hash}); what "
            "that did is in the model's part, for its answers were to the old one"
        )
        yield printable(f"  versions: {one.version_change or 'the same'}")
        if one.record.lost:
            yield f"  {one.record.lost:,} answers are left out: their whole texts were not kept"
        if one.unknown:
            yield f"  {one.unknown:,} answers are left out: the data set has no such question"
        for reading in one.changed[:_SHOWN]:
            then = f"{reading.then} {reading.then_choice}".rstrip()
            now = f"{reading.now} {reading.now_choice}".rstrip()
            said = one_line(reading.text, limit=60)
            yield f"    {reading.subject}  {reading.question[:12]}  {then} → {now}  “{said}”"
        if len(one.changed) > _SHOWN:
            yield f"    … and {len(one.changed) - _SHOWN} more (--json lists all)"
    moved = f"the harness moved {_points(rescored[0].now - rescored[0].then)}"
    if model is None:
        yield f"{moved}."
        return
    yield (
        f"{moved}, the model {_points(model.after - model.before)} "
        f"({model.losses} lost, {model.gains} gained of {model.n:,} questions)."
    )


def _points(change: float) -> str:
    return f"{100 * change:+.1f} points" if round(1000 * change) else "0.0 points"
