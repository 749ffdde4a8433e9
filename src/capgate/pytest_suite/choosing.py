"""Which of the benchmark's tests a session runs.

A whole run contains a quick run's questions, and one error budget pays for both. So a session
that judges a target on the whole benchmark makes no quick run of it as well. A quick run beside
single subjects is made where it is asked for by name; then the two share the budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest

from capgate.run.judgement import Mode
from capgate.store.shard import ShardKind

_KINDS: Final[dict[str, ShardKind]] = {
    "test_preflight": "preflight",
    "test_quick": "quick",
    "test_subject": "group",
    "test_suite": "suite",
}
"""Name of a test of the suite to what it judges."""

_ORDER: Final[dict[ShardKind | None, int]] = {"preflight": 0, "suite": 2}
"""Place of a test in a session, by what it judges; 1 for all others."""

_NAMED = re.compile(r"(?<![A-Za-z0-9])quick(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Part:
    """A test, and what of a run it is.

    Attributes:
        item: The test.
        name: Its function's name; `""` for a test that is not of the benchmark.
        target: The target that it judges; `""` for none.
        kind: What it judges; None for a test that a user has written with capgate's fixture, and
            for one that is not of the benchmark.
    """

    item: pytest.Item
    name: str = ""
    target: str = ""
    kind: ShardKind | None = None

    @classmethod
    def of(cls, item: pytest.Item) -> Part:
        """Reads off a test what it judges."""
        if not isinstance(item, pytest.Function) or not is_ours(item):
            return cls(item)
        callspec = getattr(item, "callspec", None)
        target = str(callspec.params.get("target", "")) if callspec else ""
        return cls(item, item.originalname, target, _KINDS.get(item.originalname))


@dataclass(frozen=True)
class Chosen:
    """A session's tests.

    Attributes:
        kept: Each test that runs.
        left_out: Quick runs that are not made.
        whole: Targets whose suite is a test of the session.
        beside_quick: Targets of which subjects are judged beside a quick run.
    """

    kept: tuple[Part, ...]
    left_out: tuple[pytest.Item, ...]
    whole: frozenset[str]
    beside_quick: frozenset[str]

    @property
    def line(self) -> str:
        """What a person is told of the choice; `""` where there is nothing to tell."""
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
        targets: Node id of each test of the benchmark to its target.
        preflighted: Targets whose preflight is a test of the session.
        whole: Targets whose suite is a test of the session.
        beside_quick: Targets of which subjects are judged beside a quick run.
        planned: Target to the subjects that its tests ask; none of them for a quick run's test.
        modes: Target to the kind of its run.
        single: Target to the subjects that have a test of their own, in order.
    """

    targets: dict[str, str] = field(default_factory=dict)
    preflighted: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    beside_quick: frozenset[str] = frozenset()
    planned: dict[str, set[str]] = field(default_factory=dict)
    modes: dict[str, Mode] = field(default_factory=dict)
    single: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, chosen: Chosen, subjects: Sequence[str]) -> SessionPlan:
        """Reads off what the chosen tests ask.

        Args:
            chosen: The session's tests.
            subjects: The subjects of a whole-benchmark run.
        """
        preflighted = _targets(chosen.kept, "preflight")
        plan = cls({}, preflighted, chosen.whole, chosen.beside_quick)
        for part in chosen.kept:
            if not part.name:
                continue
            target = part.target
            plan.targets[part.item.nodeid] = target
            planned = plan.planned.setdefault(target, set())
            if part.kind != "preflight":
                plan.modes[target] = "quick" if part.kind == "quick" else "full"
            if part.kind == "group":
                subject = part.item.callspec.params["subject"]  # type: ignore[attr-defined]
                planned.add(subject)
                plan.single.setdefault(target, []).append(subject)
            elif part.kind == "suite":
                planned.update(subjects)
        return plan

    def following(self, target: str, subject: str) -> Sequence[str]:
        """Returns the subjects of a target whose tests come after that of `subject`."""
        subjects = self.single.get(target, [])
        return subjects[subjects.index(subject) + 1 :] if subject in subjects else ()

    def counts(self, target: str, subject: str) -> bool:
        """Whether a test of its own counts a target's subject."""
        return subject in self.single.get(target, ())


def choose(items: Sequence[pytest.Item], asked: str) -> Chosen:
    """Chooses and orders a session's tests: preflights first, suites last.

    Args:
        items: The tests that pytest's own options leave.
        asked: What the command line names (`asked_for`).
    """
    parts = [Part.of(item) for item in items]
    whole, single = _targets(parts, "suite"), _targets(parts, "group")
    more = whole if _NAMED.search(asked) else whole | single
    left_out = tuple(part for part in parts if part.kind == "quick" and part.target in more)
    kept = [part for part in parts if part not in left_out]
    kept.sort(key=lambda part: _ORDER.get(part.kind, 1))
    return Chosen(
        tuple(kept), tuple(part.item for part in left_out), whole, _targets(kept, "quick") & single
    )


def _targets(parts: Iterable[Part], kind: ShardKind) -> frozenset[str]:
    """The targets of which tests judge a kind of shard."""
    return frozenset(part.target for part in parts if part.kind == kind)


def asked_for(config: pytest.Config) -> str:
    """Returns what the command line names: node ids within files, `-m` and `-k`."""
    nodes = [argument.partition("::")[2] for argument in config.args]
    return " ".join([*nodes, config.option.markexpr or "", config.option.keyword or ""])


def is_ours(item: object) -> bool:
    """Whether a test uses capgate's fixture."""
    return "capgate" in getattr(item, "fixturenames", ())
