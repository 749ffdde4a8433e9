"""What thresholds name of benchmarks: whether there are such benchmarks, groups and parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.common.errors import FileFault
from capgate.gate.overrides import nearest


def faults_of_name(name: str, entries: Mapping[str, BenchmarkEntry]) -> Iterator[FileFault]:
    """Tells where there is no benchmark of a name.

    Args:
        name: The name, as a file has it under `benchmarks:`.
        entries: The benchmarks that there are.
    """
    if name not in entries:
        meant = nearest(name, tuple(entries))
        hint = f"; did you mean `{meant}`?" if meant else ""
        yield FileFault(f"benchmarks.{name}", f"there is no benchmark `{name}`{hint}")


def faults_of_groups(
    name: str, entry: BenchmarkEntry | None, groups: Iterable[str], parents: Iterable[str]
) -> Iterator[FileFault]:
    """Tells which groups and parents of groups a benchmark does not have.

    What only the benchmark's questions tell is not checked here.

    Args:
        name: The benchmark's name.
        entry: Its entry; None where there is none.
        groups: Names under its `groups:`.
        parents: Names under its `parents:`.
    """
    if entry is None:
        return
    known_groups, known_parents = entry.known_groups, tuple(sorted({*entry.parent_of.values()}))
    has_groups = entry.group is not None or entry.questions is not None
    for key, named, known, may_be_others in (
        ("groups", groups, known_groups, has_groups and not known_groups),
        ("parents", parents, known_parents, False),
    ):
        for one in named:
            if one in known or may_be_others:
                continue
            meant = nearest(one, known)
            hint = f"; did you mean `{meant}`?" if meant else ""
            what = f"{name} has no {key.removesuffix('s')} `{one}`{hint}"
            yield FileFault(f"benchmarks.{name}.{key}.{one}", what)
