"""Which of the benchmark's tests a session runs.

A whole run contains a quick run's questions, and one error budget pays for both. So a session
that judges a target on the whole benchmark makes no quick run of it as well. A quick run beside
single subjects is made where it is asked for by name; then the two share the budget.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from capgate.pytest_suite.redacted_reports import part_of

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
