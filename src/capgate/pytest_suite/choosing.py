"""Which of the benchmark's tests a session runs.

A whole run contains a quick run's questions, and one error budget pays for both. So a session
that judges a target on the whole benchmark makes no quick run of it as well. A quick run beside
single subjects is made where it is asked for by name; then the two share the budget.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from capgate.run.judgement import Mode

_ORDER = {"test_preflight": 0, "test_quick": 1, "test_subject": 1, "test_suite": 2}
_NAMED = re.compile(r"(?<![A-Za-z0-9])quick(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Chosen:
    """A session's tests.

    Attributes:
        kept: Each test that runs, with its name and target; both empty for a test that is not of
            the benchmark.
        left_out: Quick runs that are not made.
        whole: Targets whose suite is a test of the session.
        beside_quick: Targets of which subjects are judged beside a quick run.
    """

    kept: tuple[tuple[pytest.Item, str, str], ...]
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
        preflighted = frozenset(t for _, name, t in chosen.kept if name == "test_preflight")
        plan = cls({}, preflighted, chosen.whole, chosen.beside_quick)
        for item, name, target in chosen.kept:
            if not name:
                continue
            plan.targets[item.nodeid] = target
            planned = plan.planned.setdefault(target, set())
            if name != "test_preflight":
                plan.modes[target] = "quick" if name == "test_quick" else "full"
            if name == "test_subject":
                subject = item.callspec.params["subject"]  # type: ignore[attr-defined]
                planned.add(subject)
                plan.single.setdefault(target, []).append(subject)
            elif name == "test_suite":
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
    ours = [(item, *part_of(item)) for item in items]
    whole = frozenset(target for _, name, target in ours if name == "test_suite")
    single = frozenset(target for _, name, target in ours if name == "test_subject")
    more = whole if _NAMED.search(asked) else whole | single
    left_out = tuple(item for item, name, target in ours if name == "test_quick" and target in more)
    kept = [entry for entry in ours if entry[0] not in left_out]
    kept.sort(key=lambda entry: _ORDER.get(entry[1], 1))
    quick = frozenset(target for _, name, target in kept if name == "test_quick")
    return Chosen(tuple(kept), left_out, whole, quick & single)


def asked_for(config: pytest.Config) -> str:
    """Returns what the command line names: node ids within files, `-m` and `-k`."""
    nodes = [argument.partition("::")[2] for argument in config.args]
    return " ".join([*nodes, config.option.markexpr or "", config.option.keyword or ""])


def is_ours(item: object) -> bool:
    """Whether a test uses capgate's fixture."""
    return "capgate" in getattr(item, "fixturenames", ())


def part_of(item: pytest.Item) -> tuple[str, str]:
    """Returns name and target of a test of the benchmark; both empty for any other test."""
    if not isinstance(item, pytest.Function) or not is_ours(item):
        return "", ""
    callspec = getattr(item, "callspec", None)
    return item.originalname, str(callspec.params.get("target", "")) if callspec else ""
