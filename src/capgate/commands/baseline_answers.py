"""The answers that a baseline is made of: those of a stored run, and a second look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from capgate.asking.ask_again import ask_again
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.commands.finished_run import settings_of_run
from capgate.common.answers import Answer
from capgate.common.errors import ConfigError
from capgate.config.settings import Settings
from capgate.config.shown_command import of_benchmark
from capgate.report.data.killed import is_killed, killed_fault
from capgate.run.standalone import local_run
from capgate.store.answer_store import Store
from capgate.store.baseline_review import kept_look
from capgate.store.open_store import stored
from capgate.store.runs import (
    StoredRun,
    benchmarks_of,
    find_run,
    known_targets,
    newest_of_any,
    newest_whole,
    read_run,
    runs_of,
)


def runs_to_record(
    store: Store, settings: Settings, target: str, named: str | None, benchmarks: Sequence[str]
) -> list[StoredRun]:
    """The runs that baselines of a target are made of, one for each benchmark.

    Args:
        store: The store of runs.
        settings: Where the project's files are.
        target: The target's id.
        named: The run's id, `latest`, or a report's path; for each benchmark the target's newest
            run of the whole of it where None.
        benchmarks: The benchmarks; where there is none, all that the run asked: the one named, or
            the target's newest one that asked the whole of any benchmark.

    Raises:
        ConfigError: There is no such run, or it was killed.
    """
    if not benchmarks:
        run = find_run(store, named) if named is not None else newest_of_any(store, target)
        if run is not None and (asked := benchmarks_of(store, run, target)):
            named, benchmarks = run, asked
    return [run_to_record(store, settings, target, named, one) for one in benchmarks or (MMLU,)]


def run_to_record(
    store: Store, settings: Settings, target: str, named: str | None, benchmark: str
) -> StoredRun:
    """The run that a baseline of a target is made of.

    Args:
        store: The store of runs.
        settings: Where the project's files are.
        target: The target's id.
        named: The run's id, `latest`, or a report's path; the target's newest run of the whole
            benchmark where None.
        benchmark: The benchmark.

    Raises:
        ConfigError: There is no such run, or it was killed.
    """
    output = settings.output_dir
    if named is not None:
        run = read_run(store, find_run(store, named), target, benchmark=benchmark)
        if run.mode == "unfinished" and is_killed(store, run.id, output):
            raise killed_fault(store, run.id)
        return run
    newest = newest_whole(store, target, benchmark=benchmark)
    if newest is not None:
        return newest
    latest = next(runs_of(store, target, benchmark=benchmark), None)
    if latest is not None and is_killed(store, latest.id, output):
        raise killed_fault(store, latest.id)
    known = known_targets(store)
    there = target in known
    whole = "the whole benchmark" if benchmark == MMLU else f"the whole of {benchmark}"
    raise ConfigError(
        f"the store has no run of {whole}" + ("" if there else " (nor any other run of it)"),
        target=target,
        remedy=f"capgate run --model-id {quote(target)}{of_benchmark(benchmark)} (with --measure "
        "if there is nothing to compare it with yet)"
        + ("" if there or not known else f"; the store has runs of {', '.join(known)}"),
    )


def second_look(settings: Settings, run: StoredRun, *, ask: bool) -> list[Answer] | None:
    """The target's second answers to a run's questions; None where it was asked once.

    Args:
        settings: Where the project's files are.
        run: The run.
        ask: Whether the target is asked every question once more now.

    Raises:
        CapgateError: The target can't be asked, or did not answer every question.
    """
    if ask:
        _ask_again(settings, run)
    with stored(settings.store) as store:
        second = kept_look(store, run)
    if ask and second is None:
        raise ConfigError(
            "some of its questions have no answer when asked again",
            target=run.target,
            remedy="see the faults in the run's logs, and repeat the command",
        )
    return second


def _ask_again(settings: Settings, run: StoredRun) -> None:
    known = settings_of_run(run.settings, settings)
    asked = replace(known, fresh=False, benchmarks=(run.benchmark,))
    with local_run(asked, run_id=run.id) as live:
        if run.target not in live.targets:
            raise ConfigError(
                f"the run {run.id} did not judge it", target=run.target, remedy="name another run"
            )
        one = live.ready_target(run.target)
        if one.fingerprint.hash != run.about["fingerprint"]:
            raise ConfigError(
                f"what answers now is not what answered in the run {run.id}",
                target=run.target,
                remedy="run the whole benchmark again, and record that run",
            )
        ask_again(
            live.evaluator, list(live.selection(run.target)), [one], look="repeat", name="all"
        )
