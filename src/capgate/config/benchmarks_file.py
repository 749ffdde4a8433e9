"""The benchmarks that a run can name: those that capgate ships, and a project's own over them.

A project's `config/benchmarks.yaml` adds benchmarks and suites. An entry named as a shipped one
changes the keys that it has and keeps the others, unless it has a task or questions of its own.
Every fault of the file is told at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from capgate.benchmarks.entry import BenchmarkEntry, is_benchmark_name
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.errors import ConfigError, FileFault
from capgate.common.secret_forms import without_tokens
from capgate.common.validation import explain
from capgate.common.yaml_file import literal_secrets, names_in_quotes, read_yaml_mapping

FILE: Final = Path("config", "benchmarks.yaml")
"""A project's file of benchmarks."""

_SUITES: Final = "suites"
"""The key of the file that holds suites, and so no benchmark's name."""

_MMLU_KEYS: Final = frozenset({"catch", "advisory", "max_tokens", "description", "note"})
"""What a project may say of `mmlu`; the rest is capgate's own."""

_REMEDY: Final = "docs/benchmarks.md describes every key"


class Suite(BaseModel):
    """Benchmarks that are asked together.

    Attributes:
        benchmarks: Their names, in the order in which they are asked.
        quick: Whether only quick runs are meant.
        description: What it is for, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    quick: bool = False
    description: str = ""


@dataclass(frozen=True)
class Benchmarks:
    """All benchmarks and suites that a run of this project can name.

    Attributes:
        entries: Name to entry: those of capgate first, then the project's.
        suites: Name to suite.
        own: Names of the entries that the project's file has.
    """

    entries: Mapping[str, BenchmarkEntry]
    suites: Mapping[str, Suite]
    own: frozenset[str] = frozenset()

    def entry_of(self, name: str) -> BenchmarkEntry:
        """Returns the entry of a benchmark.

        Raises:
            ConfigError: There is none of this name.
        """
        if name not in self.entries:
            suite = f"; {name} is a suite: --suite {name}" if name in self.suites else ""
            raise ConfigError(
                f"there is no benchmark {name!r}{suite}", remedy=_nearest(name, self.entries)
            )
        return self.entries[name]

    def suite_of(self, name: str) -> Suite:
        """Returns the suite of a name.

        Raises:
            ConfigError: There is none of this name.
        """
        if name not in self.suites:
            other = f"; {name} is a benchmark: --benchmark {name}" if name in self.entries else ""
            raise ConfigError(
                f"there is no suite {name!r}{other}", remedy=_nearest(name, self.suites)
            )
        return self.suites[name]


def asked_before(name: str, before: Iterable[str], entries: Mapping[str, BenchmarkEntry]) -> bool:
    """Whether a benchmark before this one asks the same questions, in this or another form.

    Args:
        name: The benchmark.
        before: The names of those before it.
        entries: The benchmarks that the project knows.
    """

    def first(one: str) -> str:
        entry = entries.get(one)
        return one if entry is None or entry.questions_of is None else entry.questions_of

    return any(first(one) == first(name) for one in before)


def load_benchmarks(root: Path) -> Benchmarks:
    """Reads the shipped benchmarks, and over them those of the project in `root`.

    Raises:
        ConfigError: With every fault of the project's file.
    """
    shipped = shipped_benchmarks()
    path = root / FILE
    if not path.exists():
        return shipped
    return _read(path, shipped)


@cache
def shipped_benchmarks() -> Benchmarks:
    """The benchmarks and suites that capgate ships."""
    with as_file(files("capgate.config") / "benchmarks.yaml") as path:
        return replace(_read(path, Benchmarks({}, {})), own=frozenset())


def _read(path: Path, base: Benchmarks) -> Benchmarks:
    raw = read_yaml_mapping(path, what="benchmarks")
    faults: list[FileFault] = []
    entries = dict(base.entries)
    own: list[str] = []
    for name, body in raw.items():
        if name == _SUITES:
            continue
        own.append(str(name))
        if found := list(_faults_of_name(name)):
            faults += found
            continue
        entry = _entry(name, body, base.entries.get(name), faults)
        if entry is not None:
            entries[name] = entry
    known = {*entries, *own}
    for name in own:
        if name in entries:
            faults += _faults_of_source(name, entries, known)
    suites = {**base.suites, **_suites(raw.get(_SUITES), known, faults)}
    if faults:
        raise ConfigError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}",
            faults=[FileFault(without_tokens(f.place), without_tokens(f.what)) for f in faults],
            remedy=_REMEDY,
        )
    return Benchmarks(entries, suites, frozenset(own))


def _faults_of_source(
    name: str, entries: Mapping[str, BenchmarkEntry], known: set[str]
) -> Iterator[FileFault]:
    """What is wrong with the benchmark whose questions an entry says that it asks."""
    source, place = entries[name].questions_of, f"{name}.questions_of"
    if source is None:
        return
    if source == name:
        yield FileFault(
            place, "names the entry itself; leave it out where the questions are its own"
        )
    elif source not in known:
        what = f"there is no benchmark {source!r}; {_nearest(source, known)}"
        yield FileFault(place, what)
    elif source in entries and (first := entries[source].questions_of):
        yield FileFault(place, f"the questions of {source} are those of {first}: name {first}")


def _faults_of_name(name: object) -> Iterator[FileFault]:
    if quoted := names_in_quotes([name]):
        yield from quoted
    elif not isinstance(name, str) or not is_benchmark_name(name):
        what = "a name has letters, digits, '_' and '-' only, at most 64 of them"
        yield FileFault(str(name), what)


def _entry(
    name: str, body: object, under: BenchmarkEntry | None, faults: list[FileFault]
) -> BenchmarkEntry | None:
    """Reads one entry; adds its faults to `faults`."""
    if not isinstance(body, dict):
        faults.append(FileFault(name, f"expected keys and values, got {type(body).__name__}"))
        return None
    secrets = list(literal_secrets(name, body))
    faults += secrets
    if name == MMLU and under is not None and (keys := set(map(str, body)) - _MMLU_KEYS):
        known = ", ".join(sorted(_MMLU_KEYS))
        faults += [
            FileFault(
                f"{name}.{key}",
                f"is capgate's own for mmlu (a project may set {known}); give the entry another "
                "name, or choose MMLU's task with --tasks",
            )
            for key in sorted(keys)
        ]
        return None
    kept = (
        under.model_dump(exclude_unset=True)
        if under is not None and not {"task", "questions"} & body.keys()
        else {}
    )
    try:
        entry = BenchmarkEntry.model_validate({**kept, **body})
    except ValidationError as error:
        places = {fault.place for fault in secrets}
        told = explain(error, prefix=name, model=BenchmarkEntry)
        faults += [fault for fault in told if fault.place not in places]
        return None
    found = [
        FileFault(f"{name}.{fault.place}" if fault.place else name, fault.what)
        for fault in entry.faults()
    ]
    faults += found
    return None if found else entry


def _suites(raw: object, known: set[str], faults: list[FileFault]) -> dict[str, Suite]:
    """Reads the suites of a file; adds their faults to `faults`.

    Args:
        raw: Name to a list of benchmarks, or to the keys of `Suite`.
        known: Names of benchmarks, those with faults of their own included.
        faults: What is added to.
    """
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        what = "expected names of suites with lists of benchmarks, such as `nightly: [mmlu, gsm8k]`"
        faults.append(FileFault(_SUITES, what))
        return {}
    suites: dict[str, Suite] = {}
    for name, body in raw.items():
        place = f"{_SUITES}.{name}"
        if found := list(_faults_of_name(name)):
            faults += [FileFault(place, fault.what) for fault in found]
            continue
        try:
            suite = Suite.model_validate({"benchmarks": body} if isinstance(body, list) else body)
        except ValidationError as error:
            faults += explain(error, prefix=place, model=Suite)
            continue
        for one in dict.fromkeys(suite.benchmarks):
            if one not in known:
                what = f"there is no benchmark {one!r}; {_nearest(one, known)}"
                faults.append(FileFault(place, what))
            if suite.benchmarks.count(one) > 1:
                faults.append(FileFault(place, f"names {one!r} twice"))
        suites[name] = suite
    return suites


def _nearest(name: str, known: Mapping[str, Any] | set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
