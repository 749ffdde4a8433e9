"""What a test of the benchmark is given: it asks for a judgement and fails by it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from capgate.errors import CapgateError
from capgate.gate.verdict import Scope, Verdict
from capgate.judgement import PREFLIGHT, QUICK, SUITE, Judgement
from capgate.judging import Judge
from capgate.report.terminal import render_judgement

JUDGEMENT = pytest.StashKey[dict[str, Any]]()
"""Where a test's node keeps its judgement, for reports made in the same process."""


class Bench:
    """The run, for the length of one test.

    Args:
        judge: Judges for this process.
        node: The test.
        preflighted: The targets whose preflight is a test of this session.
    """

    def __init__(self, judge: Judge, node: pytest.Item, preflighted: frozenset[str]) -> None:
        self._judge = judge
        self._run = judge.run
        self._node = node
        self._preflighted = preflighted

    def preflight(self, target: str) -> None:
        """Fails unless the target can be judged."""
        fault = _fault_of(self._judge.preflight, target)
        if fault is not None:
            self._fail_by(self._error(target, PREFLIGHT, fault, "suite"))
        self._note(target, PREFLIGHT, None)

    def subject(self, target: str, subject: str) -> None:
        """Fails where a subject by itself shows a loss."""
        self._reach(target)
        try:
            judgement = self._judge.subject(target, subject)
        except CapgateError as error:
            judgement = self._error(target, subject, error, "subject")
        if judgement is None:
            pytest.skip(f"--limit {self._run.settings.limit} left no question of this subject")
        self._settle(judgement)

    def suite(self, target: str) -> None:
        """Fails where the whole benchmark shows a loss."""
        self._reach(target)
        try:
            judgement = self._judge.suite(target)
        except CapgateError as error:
            judgement = self._error(target, SUITE, error, "suite")
        self._settle(judgement)

    def quick(self, target: str) -> None:
        """Fails where a growing random sample shows a loss."""
        self._reach(target)
        try:
            judgement = self._judge.quick(target)
        except CapgateError as error:
            judgement = self._error(target, QUICK, error, "quick")
        self._settle(judgement)

    def _reach(self, target: str) -> None:
        """Has the target's server up; where preflight tells of its fault, one telling will do."""
        if target in self._preflighted:
            if _fault_of(self._judge.preflight, target) is not None:
                pytest.skip(f"not run: the preflight of {target} failed")
            return
        fault = _fault_of(self._run.contestant, target) or _fault_of(self._run.reference, target)
        if fault is not None:
            self._fail_by(self._error(target, PREFLIGHT, fault, "suite"))

    def _error(self, target: str, shard: str, error: CapgateError, scope: Scope) -> Judgement:
        subject = shard if scope == "subject" else None
        verdict = Verdict.of_error(error, scope=scope, subject=subject)
        judgement = Judgement(target, shard, verdict, None)
        with contextlib.suppress(CapgateError):  # where the store itself is at fault
            self._run.record(judgement)
        return judgement

    def _settle(self, judgement: Judgement) -> None:
        if judgement.verdict is not None and judgement.verdict.fails:
            self._fail_by(judgement)
        self._attach(judgement)

    def _fail_by(self, judgement: Judgement) -> None:
        self._attach(judgement)
        pytest.fail(render_judgement(judgement), pytrace=False)

    def _attach(self, judgement: Judgement) -> None:
        verdict = judgement.verdict
        self._node.stash[JUDGEMENT] = {
            "target": judgement.target,
            "shard": judgement.shard,
            **judgement.facts(),
        }
        if verdict is None:
            self._note(judgement.target, judgement.shard, None)
            return
        numbers: dict[str, Any] = {}
        if verdict.counts is not None:
            counts = verdict.to_dict()["counts"]
            names = ("n", "losses", "gains", "correct", "errors")
            numbers |= {name: counts[name] for name in names if name in counts}
        numbers |= {
            "drop": verdict.drop,
            "smallest_visible_drop": verdict.smallest_visible_drop,
            "reference": verdict.reference,
        }
        self._note(judgement.target, judgement.shard, verdict.kind, **numbers)

    def _note(self, target: str, shard: str, kind: str | None, **numbers: object) -> None:
        properties = {"target": target, "shard": shard, "verdict": kind, **numbers}
        self._node.user_properties.extend(
            (f"capgate_{name}", value) for name, value in properties.items() if value is not None
        )


def _fault_of(call: Callable[[str], object], target: str) -> CapgateError | None:
    """What a call raised; failing outside its `except` keeps it from being shown twice."""
    try:
        call(target)
    except CapgateError as error:
        return error
    return None
