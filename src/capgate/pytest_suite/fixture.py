"""What a test of the benchmark is given: it asks for a judgement and fails by it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn, TypeVar

import pytest

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.dependencies import is_missing, package_error
from capgate.common.errors import CapgateError, ServerEndedError, StoreError
from capgate.common.files import FileError, file_error, is_of_files
from capgate.common.text import one_line, printable
from capgate.gate.verdict import Scope, Verdict
from capgate.pytest_suite.choosing import SessionPlan
from capgate.run.judgement import Judgement, Mode
from capgate.run.run import Run
from capgate.run.runs import Runs
from capgate.store.shard import OVER_ALL, Shard

_J = TypeVar("_J", bound=Judgement | None)

JUDGEMENT = pytest.StashKey[dict[str, Any]]()
"""Where a test's node keeps its judgement, for reports made in the same process."""


class Bench:
    """The run, for the length of one test.

    Args:
        runs: This process's part in the run.
        node: The test.
        plan: What the session's tests ask.
    """

    def __init__(self, runs: Runs, node: pytest.Item, plan: SessionPlan) -> None:
        self._runs = runs
        self._node = node
        self._plan = plan

    def preflight(self, target: str) -> None:
        """Fails unless the target can be judged, on each benchmark that decides."""
        faults = {run.name: self._preflight_fault(target, run) for run in self._runs}
        shard = Shard("preflight", "" if self._runs.several else self._runs.first.name)
        told = list(filter(None, faults.values()))
        if not self._runs.several and told:
            self._fail_by(self._error(target, self._runs.first, shard, told[0], "suite"))
        if reasons := self._runs.faults_together(target, faults):
            verdict = Verdict(kind="ERROR", scope="suite", reasons=tuple(reasons))
            self._fail_by(Judgement(target, shard, verdict, None))
        self._note(target, shard, None)

    def subject(self, target: str, subject: str) -> None:
        """Fails where a subject of MMLU by itself shows a loss."""
        self._group(target, self._runs.of(MMLU if MMLU in self._runs.names else ""), subject)

    def group(self, target: str, benchmark: str, group: str = "") -> None:
        """Fails where a group of a benchmark by itself shows a loss.

        Args:
            target: The target.
            benchmark: The benchmark's name.
            group: The group; `""` for the whole benchmark.
        """
        run = self._runs.of(benchmark)
        if group:
            self._group(target, run, group)
        else:
            self._whole(target, run, "full")

    def suite(self, target: str) -> None:
        """Fails where all benchmarks of the run together show a loss."""
        if self._runs.several:
            self._over_all(target, "full")
        else:
            self._whole(target, self._runs.first, "full")

    def quick(self, target: str, benchmark: str = "") -> None:
        """Fails where a growing random sample shows a loss.

        Args:
            target: The target.
            benchmark: The benchmark's name; `""` for all benchmarks of the run together.
        """
        if self._runs.several and not benchmark:
            self._over_all(target, "quick")
        else:
            self._whole(target, self._runs.of(benchmark), "quick")

    def _group(self, target: str, run: Run, group: str) -> None:
        self._reach(target, run)
        shard = Shard("group", run.name, group)
        try:
            if run.losses.fault(target):
                self._skip_lost(target)
            judgement = self._judged(
                target, run, shard, "subject", lambda: run.judge.subject(target, group)
            )
        except (ServerEndedError, FileError, StoreError) as error:
            first = run.losses.note(target, str(error))
            # One test tells of it: the suite's where the session has it, which comes last.
            if self._plan.tells(target, run.name) or not first:
                self._skip_lost(target)
            judgement = self._error(target, run, shard, error, "subject")
        if judgement is None:
            what = "subject" if run.name == MMLU else "group"
            limit = run.settings.limit
            why = f"--limit {limit} left" if limit is not None else "the data set has"
            pytest.skip(f"{why} no question of this {what}")
        self._settle(judgement, run)

    def _whole(self, target: str, run: Run, mode: Mode) -> None:
        """Judges one benchmark as a whole, or by a quick run."""
        self._reach(target, run)
        scope: Literal["quick", "suite"] = "quick" if mode == "quick" else "suite"
        # One test tells of a target that is lost: the verdict over all where there is one.
        told_later = self._runs.several and target in self._plan.over_all
        if told_later and run.losses.fault(target):
            self._skip_lost(target)
        judgement = self._judged(
            target,
            run,
            Shard(scope, run.name),
            scope,
            lambda: self._runs.judge(target, run.name, mode),
        )
        if told_later and run.losses.fault(target):
            self._skip_lost(target)
        self._settle(judgement, run)

    def _over_all(self, target: str, mode: Mode) -> None:
        """Judges all benchmarks of the run together."""
        runs = self._runs
        found = {run.name: self._known_fault(target, run) for run in runs}
        faults = {name: fault for name, fault in found.items() if fault is not None}
        with self._own_faults(target, runs.first, OVER_ALL, "suite"):
            verdict = runs.over_all(target, mode, faults)
        self._node.stash[JUDGEMENT] = {
            "target": target,
            "shard": OVER_ALL.label,
            "verdict": verdict and verdict.to_dict(),
            "usage": None,
        }
        self._note(target, OVER_ALL, None if verdict is None else verdict.kind)
        if target in self._plan.preflighted and len(faults) == len(runs.names):
            pytest.skip(f"not run: the preflight of {target} failed")
        if verdict is not None and verdict.fails:
            n, name = len(runs.names), runs.first.name
            of = f"over {n} benchmarks" if n > 1 else f"on {name}"
            lines = [f"{verdict.kind}: {target} {of}", *verdict.reasons]
            pytest.fail("\n  ".join(map(printable, lines)), pytrace=False)

    def _reach(self, target: str, run: Run) -> None:
        """Has the target's server up; where preflight tells of its fault, one telling will do."""
        fault = self._known_fault(target, run)
        if fault is None:
            return
        if target in self._plan.preflighted:
            of = f"{target} on {run.name}" if self._runs.several else target
            pytest.skip(f"not run: the preflight of {of} failed")
        verdict = Verdict.of_error(fault, scope="suite")
        self._fail_by(Judgement(target, Shard("preflight", run.name), verdict, None))

    def _preflight_fault(self, target: str, run: Run) -> CapgateError | None:
        """Why a target can't be judged on a benchmark; None where it can."""
        return self._fault(target, run, Shard("preflight", run.name), run.judge.preflight)

    def _known_fault(self, target: str, run: Run) -> CapgateError | None:
        """Why a target can't be judged on a benchmark, recorded; None where it can."""
        if target in self._plan.preflighted:
            # Another process may find out in its preflight that the server is not there.
            return {one.name: self._preflight_fault(target, one) for one in self._runs}[run.name]
        shard = Shard("preflight", run.name)
        fault = self._fault(target, run, shard, run.ready_target, run.reference)
        if fault is not None:
            self._error(target, run, shard, fault, "suite")
        return fault

    @staticmethod
    def _skip_lost(target: str) -> NoReturn:
        pytest.skip(f"not run: {target} can't be asked any more")

    def _fault(
        self, target: str, run: Run, shard: Shard, *calls: Callable[[str], object]
    ) -> CapgateError | None:
        """What one of the calls raised; failing outside of `except` shows it only once."""
        try:
            with self._own_faults(target, run, shard, "suite"):
                for call in calls:
                    call(target)
        except CapgateError as error:
            return error
        return None

    def _judged(
        self, target: str, run: Run, shard: Shard, scope: Scope, judge: Callable[[], _J]
    ) -> _J | Judgement:
        """A judgement; that it could not be had is one as well.

        Raises:
            ServerEndedError: The server stopped answering, which one test tells for all.
            FileError: The disk does not take what is written; likewise, for a subject's test.
            StoreError: The same of the store.
        """
        try:
            with self._own_faults(target, run, shard, scope):
                return judge()
        except ServerEndedError:
            raise
        except CapgateError as error:
            if scope == "subject" and isinstance(error, FileError | StoreError):
                raise
            return self._error(target, run, shard, error, scope)

    @contextlib.contextmanager
    def _own_faults(self, target: str, run: Run, shard: Shard, scope: Scope) -> Iterator[None]:
        """Has a fault that is nobody's verdict end its test as an ERROR, with its traceback.

        Raises:
            PackageError: A package is missing, which needs no traceback.
            FileError: A file can't be written or read, which needs none either.
        """
        try:
            yield
        except CapgateError:
            raise
        except Exception as error:
            if is_missing(error):
                raise package_error(error) from None
            if isinstance(error, OSError) and is_of_files(error):
                raise file_error(error) from None
            fault = CapgateError(
                f"capgate failed by itself: {type(error).__name__}: "
                f"{one_line(str(error), limit=400)}",
                target=target,
            )
            self._attach(self._error(target, run, shard, fault, scope))
            raise

    def _error(
        self, target: str, run: Run, shard: Shard, error: CapgateError, scope: Scope
    ) -> Judgement:
        subject = shard.name if scope == "subject" else None
        verdict = Verdict.of_error(error, scope=scope, subject=subject)
        judgement = Judgement(target, shard, verdict, None)
        if shard != OVER_ALL:
            with contextlib.suppress(CapgateError):  # where the store itself is at fault
                run.record(judgement)
        return judgement

    def _settle(self, judgement: Judgement, run: Run) -> None:
        if judgement.verdict is not None and judgement.verdict.fails:
            if not run.policies.is_advisory(judgement.target):
                self._fail_by(judgement)
            self._node.user_properties.append(("capgate_advisory", True))
        self._attach(judgement)

    def _fail_by(self, judgement: Judgement) -> None:
        self._attach(judgement)
        # A test that passes needs no report's words.
        from capgate.report.text.terminal import render_judgement

        text = render_judgement(judgement, several=self._runs.several)
        pytest.fail(text, pytrace=False)

    def _attach(self, judgement: Judgement) -> None:
        verdict = judgement.verdict
        self._node.stash[JUDGEMENT] = {
            "target": judgement.target,
            "shard": judgement.shard.label,
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

    def _note(self, target: str, shard: Shard, kind: str | None, **numbers: object) -> None:
        benchmark = shard.benchmark if self._runs.several and shard.benchmark else None
        properties = {
            "target": target,
            "benchmark": benchmark,
            "shard": shard.label,
            "verdict": kind,
            **numbers,
        }
        self._node.user_properties.extend(
            (f"capgate_{name}", value) for name, value in properties.items() if value is not None
        )
