"""Which of capgate's tests a session runs.

A whole run contains a quick run's questions, and one error budget pays for both. So a session
that judges a target on a whole benchmark makes no quick run of it as well. A quick run beside
single subjects is made where it is asked for by name; then the two share the budget.

In a run of several benchmarks the bare tests `test_quick[TARGET]` and `test_suite[TARGET]` are the
verdict over all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.pytest_suite.cases import BENCHMARK
from capgate.run.judgement import Mode
from capgate.store.shard import WHOLE, ShardKind

_KINDS: Final[dict[str, ShardKind]] = {
    "test_preflight": "preflight",
    "test_quick": "quick",
    "test_subject": "group",
    "test_group": "group",
    "test_suite": "suite",
}
"""Name of a test of the suite to what it judges; `test_group` without a group judges a suite."""

_NAMED = re.compile(r"(?<![A-Za-z0-9])quick(?![A-Za-z0-9])")

Pair = tuple[str, str]
"""A target and a benchmark."""


@dataclass(frozen=True)
class Part:
    """A test, and what of a run it is.

    Attributes:
        item: The test.
        name: Its function's name; `""` for a test that is not of capgate's.
        target: The target that it judges; `""` for none.
        kind: What it judges; None for a test that a user has written with capgate's fixture, and
            for one that is not of capgate's.
        benchmark: The benchmark that it judges; `""` for all of the run together.
        group: The group that it judges; `""` for none.
    """

    item: pytest.Item
    name: str = ""
    target: str = ""
    kind: ShardKind | None = None
    benchmark: str = ""
    group: str = ""

    @classmethod
    def of(cls, item: pytest.Item) -> Part:
        """Reads off a test what it judges."""
        if not isinstance(item, pytest.Function) or not is_ours(item):
            return cls(item)
        callspec = getattr(item, "callspec", None)
        given = {name: str(value) for name, value in (callspec.params if callspec else {}).items()}
        kind, benchmark = _KINDS.get(item.originalname), given.get(BENCHMARK, "")
        group = given.get("group", "")
        if "subject" in given:
            benchmark, group = MMLU, given["subject"]
        elif kind == "group" and not group:
            kind = "suite"
        return cls(item, item.originalname, given.get("target", ""), kind, benchmark, group)

    def pairs(self, benchmarks: Sequence[str]) -> list[Pair]:
        """The target, with each benchmark of a run that it judges."""
        names = [self.benchmark] if self.benchmark else benchmarks
        return [(self.target, name) for name in names]

    @property
    def is_over_all(self) -> bool:
        """Whether it is the verdict on a target over all benchmarks of the run."""
        return self.kind in WHOLE and not self.benchmark


@dataclass(frozen=True)
class Chosen:
    """A session's tests.

    Attributes:
        kept: Each test that runs.
        left_out: Tests that are not made.
        whole: Targets and benchmarks that a test of the session judges as a whole.
        over_all: Targets of which a test gives the verdict over all benchmarks.
        beside_quick: Targets and benchmarks of which groups are judged beside a quick run.
        quick_alone: Whether whole runs are left out, since the suite of benchmarks says `quick`.
    """

    kept: tuple[Part, ...]
    left_out: tuple[pytest.Item, ...]
    whole: frozenset[Pair]
    over_all: frozenset[str]
    beside_quick: frozenset[Pair]
    quick_alone: bool = False

    @property
    def line(self) -> str:
        """What a person is told of the choice; `""` where there is nothing to tell."""
        if self.quick_alone:
            return (
                "capgate: quick runs alone, as the suite of benchmarks says (-m full for the whole "
                "benchmarks)"
            )
        if self.left_out:
            what = "the whole benchmark" if self.whole else "subjects"
            return (
                f"capgate: full run alone ({what}); no quick run beside it, since both would ask "
                "the same questions and spend one error budget (-m quick for a quick run)"
            )
        if self.beside_quick:
            return (
                "capgate: a quick run and single subjects, which share one error budget: "
                "four fifths for the quick run, one fifth for the subjects"
            )
        return ""


@dataclass(frozen=True)
class SessionPlan:
    """What a session's tests ask of each target.

    Attributes:
        targets: Node id of each test of capgate's to its target.
        preflighted: Targets whose preflight is a test of the session.
        whole: Targets and benchmarks that a test of the session judges as a whole.
        over_all: Targets of which a test gives the verdict over all benchmarks.
        beside_quick: Targets and benchmarks of which groups are judged beside a quick run.
        modes: Target and benchmark to the kind of its run.
        single: Each target and benchmark of which the session has a test, to the groups that have
            a test of their own, in order.
    """

    targets: dict[str, str] = field(default_factory=dict)
    preflighted: frozenset[str] = frozenset()
    whole: frozenset[Pair] = frozenset()
    over_all: frozenset[str] = frozenset()
    beside_quick: frozenset[Pair] = frozenset()
    modes: dict[Pair, Mode] = field(default_factory=dict)
    single: dict[Pair, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, chosen: Chosen, benchmarks: Sequence[str] = (MMLU,)) -> SessionPlan:
        """Reads off what the chosen tests ask.

        Args:
            chosen: The session's tests.
            benchmarks: The benchmarks of the run.
        """
        preflighted = frozenset(part.target for part in chosen.kept if part.kind == "preflight")
        plan = cls({}, preflighted, chosen.whole, chosen.over_all, chosen.beside_quick)
        for part in chosen.kept:
            if not part.name:
                continue
            plan.targets[part.item.nodeid] = part.target
            for pair in part.pairs(benchmarks):
                single = plan.single.setdefault(pair, [])
                if part.kind == "group":
                    single.append(part.group)
                if part.kind != "preflight":
                    plan.modes[pair] = "quick" if part.kind == "quick" else "full"
        return plan

    def planned(
        self, target: str, benchmark: str, groups: Callable[[], Sequence[str]]
    ) -> set[str] | None:
        """Returns the groups that a target's tests ask, none for a quick run's; None without tests.

        Args:
            target: The target.
            benchmark: The benchmark.
            groups: Returns all groups of a whole run.
        """
        single = self.single.get((target, benchmark))
        if single is None:
            return None
        return {*single, *(groups() if (target, benchmark) in self.whole else ())}

    def following(self, target: str, benchmark: str, group: str) -> Sequence[str]:
        """Returns the groups of a target's benchmark whose tests come after that of `group`."""
        groups = self.single.get((target, benchmark), [])
        return groups[groups.index(group) + 1 :] if group in groups else ()

    def counts(self, target: str, benchmark: str, group: str) -> bool:
        """Whether a test of its own counts a group of a target's benchmark."""
        return group in self.single.get((target, benchmark), ())

    def tells(self, target: str, benchmark: str) -> bool:
        """Whether a later test tells of a target that can't be asked any more.

        Args:
            target: The target.
            benchmark: The benchmark whose test found that out.
        """
        return target in self.over_all or (target, benchmark) in self.whole


def choose(
    items: Sequence[pytest.Item],
    asked: str,
    benchmarks: Sequence[str] = (MMLU,),
    *,
    quick: bool = False,
) -> Chosen:
    """Chooses and orders a session's tests.

    Preflights come first. Then come the tests of each benchmark, and the verdicts over all last.

    Args:
        items: The tests that pytest's own options leave.
        asked: What the command line names (`asked_for`).
        benchmarks: The benchmarks of the run, in order.
        quick: Whether quick runs are preferred to whole runs where the session has both.
    """
    parts = [Part.of(item) for item in items]
    whole, single = _pairs(parts, "suite", benchmarks), _pairs(parts, "group", benchmarks)
    quick_ones = _pairs(parts, "quick", benchmarks)
    quick_alone = quick and bool(quick_ones & (whole | single))
    if quick_alone:
        whole, single = frozenset[Pair](), frozenset[Pair]()
        leave, more = {"suite", "group"}, quick_ones
    else:
        leave, more = {"quick"}, whole if _NAMED.search(asked) else whole | single

    def stays(part: Part) -> bool:
        return part.kind not in leave or more.isdisjoint(part.pairs(benchmarks))

    kept = [part for part in parts if stays(part)]
    left_out = [part for part in parts if not stays(part)]
    kept.sort(key=lambda part: _place(part, benchmarks))
    return Chosen(
        tuple(kept),
        tuple(part.item for part in left_out),
        whole,
        frozenset(part.target for part in kept if part.is_over_all),
        _pairs(kept, "quick", benchmarks) & single,
        quick_alone,
    )


def _place(part: Part, benchmarks: Sequence[str]) -> tuple[int, int, bool]:
    """The place of a test in a session, by what it judges; equal ones keep their order."""
    if part.kind == "preflight":
        return 0, 0, False
    # A quick run of the only benchmark stands where pytest found it.
    if part.is_over_all and (part.kind == "suite" or tuple(benchmarks) != (MMLU,)):
        return 2, 0, False
    known = part.benchmark in benchmarks
    # The whole of a benchmark comes after its groups.
    return 1, benchmarks.index(part.benchmark) if known else 0, part.kind == "suite"


def _pairs(parts: Iterable[Part], kind: ShardKind, benchmarks: Sequence[str]) -> frozenset[Pair]:
    """The targets and benchmarks of which tests judge a kind of shard."""
    return frozenset(pair for part in parts if part.kind == kind for pair in part.pairs(benchmarks))


def asked_for(config: pytest.Config) -> str:
    """Returns what the command line names: node ids within files, `-m` and `-k`."""
    nodes = [argument.partition("::")[2] for argument in config.args]
    return " ".join([*nodes, config.option.markexpr or "", config.option.keyword or ""])


def is_ours(item: object) -> bool:
    """Whether a test uses capgate's fixture."""
    return "capgate" in getattr(item, "fixturenames", ())
