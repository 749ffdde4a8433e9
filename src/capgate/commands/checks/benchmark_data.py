"""Checks of benchmarks: their file, and whether what each needs is on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.exported.folder import has_export
from capgate.benchmarks.hub import cached_configurations
from capgate.benchmarks.inspect_task.upstream import PACKAGE, module_of, sources_of
from capgate.benchmarks.mmlu.load import may_be_away
from capgate.commands.checks.check import Check, Skip, check_of, own_remedy
from capgate.common.errors import ConfigError
from capgate.config.benchmarks_file import FILE, load_benchmarks
from capgate.config.chosen_benchmarks import chosen_benchmark
from capgate.config.settings import Settings

EXPORT: Final = (
    "run once where the hub can be reached (HF_HOME keeps the questions), or there "
    "`capgate questions export NAME DIR`, and here --dataset DIR"
)


class Presence(NamedTuple):
    """Whether a benchmark can be asked on this machine.

    Attributes:
        here: Whether all that it needs seems to be here; None where only loading it tells.
        what: What is missing.
        remedy: What to do about it.
    """

    here: bool | None
    what: str = ""
    remedy: str = ""


def presence(name: str, entry: BenchmarkEntry, settings: Settings, source: str) -> Presence:
    """Tells whether a benchmark can be asked here, without loading it.

    Args:
        name: The benchmark's name.
        entry: Its entry.
        settings: The settings of a run.
        source: Where its questions come from.
    """
    for module, how in entry.requires.items():
        if find_spec(module) is None:
            return Presence(False, f"the package {module} is not installed", how)
    if source not in {"hub", "bundled"} and has_export(Path(source), name):
        return Presence(True)
    if entry.is_mmlu:
        away = may_be_away(source)
    elif entry.questions is not None:
        return _of_file(settings.root, entry.questions, here=True)
    else:
        task = str(entry.task)
        file, at, plain = task.rpartition("@")
        if at or task.endswith(".py"):
            return _of_file(settings.root, file or task, here=None)
        package = task.partition("/")[0]
        if "/" in task and find_spec(package) is None:
            return Presence(False, f"the package {package} is not installed", "install it")
        sources = sources_of(module_of(plain.rpartition("/")[2])) if package == PACKAGE else ()
        if not sources:
            return Presence(None)
        away = not any(map(cached_configurations, sources))
    return Presence(False, "its questions seem not to be here", EXPORT) if away else Presence(True)


def _of_file(root: Path, path: str, *, here: bool | None) -> Presence:
    if (root / path).is_file():
        return Presence(here)
    return Presence(False, f"there is no {path}", f"correct its entry in {FILE}")


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
