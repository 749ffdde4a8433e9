"""Checks of benchmarks: their file, and whether what each needs is on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final, NamedTuple

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.make import make_benchmark
from capgate.commands.checks.check import Check, Skip, check_of, own_remedy
from capgate.common.errors import CapgateError, ConfigError
from capgate.config.benchmarks_file import FILE, load_benchmarks
from capgate.config.chosen_benchmarks import chosen_benchmark
from capgate.config.settings import Settings

EXPORT: Final = (
    "run once where the hub can be reached (HF_HOME keeps the questions), or there "
    "`capgate questions export NAME DIR`, and here --dataset DIR"
)


class Missing(NamedTuple):
    """What a benchmark lacks on this machine.

    Attributes:
        what: What is missing.
        remedy: What to do about it.
    """

    what: str
    remedy: str


def missing(name: str, entry: BenchmarkEntry, settings: Settings, source: str) -> Missing | None:
    """Returns what a benchmark lacks here, without loading it; None where nothing seems to lack.

    Args:
        name: The benchmark's name.
        entry: Its entry.
        settings: The settings of a run.
        source: Where its questions come from.

    """
    own = entry.questions or ("" if "@" not in (entry.task or "") else entry.task or "")
    file = own.rpartition("@")[0] or own
    if file and not (settings.root / file).exists():
        return Missing(f"there is no {file}", f"correct its entry in {FILE}")
    for module, how in entry.requires.items():
        if find_spec(module) is None:
            return Missing(f"the package {module} is not installed", how)
    try:
        benchmark = make_benchmark(
            name, entry, task=settings.task, max_tokens=settings.max_tokens, root=settings.root
        )
        away = benchmark.may_be_away(source)
    except CapgateError as error:
        return Missing(error.what, error.remedy)
    if away:
        return Missing("its questions seem not to be here", EXPORT)
    return None


def benchmarks_file(settings: Settings) -> Check:
    """Whether the project's file of benchmarks is valid; it need not be there."""

    def find() -> str:
        known = load_benchmarks(settings.root)
        if not (settings.root / FILE).exists():
            raise Skip(f"there is none ({len(known.entries)} benchmarks are shipped)")
        own = ", ".join(name for name in known.entries if name in known.own)
        return f"{len(known.own)} of this project: {own}" if own else "no benchmark of this project"

    return check_of(FILE.name, find, remedy=own_remedy)


def questions(settings: Settings, source: str, name: str) -> Check:
    """Whether a benchmark's package is there, its task can be made, and its questions loaded.

    Args:
        settings: The settings of a run.
        source: Where the questions come from.
        name: The benchmark's name.
    """

    def find() -> str:
        from capgate.asking.inspect_backend.direct_tasks import why_not_direct

        entry = load_benchmarks(settings.root).entry_of(name)
        for module, how in entry.requires.items():
            if find_spec(module) is None:
                raise ConfigError(f"the package {module} is not installed", remedy=how)
        benchmark = chosen_benchmark(settings, name)
        loaded = benchmark.load(source)
        groups = tuple(loaded.by_subject)
        of = "" if groups == (name,) else f" in {len(groups)} groups"
        slow = why_not_direct(benchmark.task(loaded.questions, shard=name))
        how = f"an evaluation of Inspect's own asks them: {slow}" if slow else "asked directly"
        return f"{len(loaded.questions):,} questions{of}; {how}"

    return check_of(f"questions of {name}", find, remedy=own_remedy)
