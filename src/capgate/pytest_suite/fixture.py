"""What a test of the benchmark is given: it asks for a judgement and fails by it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import pytest

from capgate.common.dependencies import is_missing, package_error
from capgate.common.errors import CapgateError, ServerEndedError, StoreError
from capgate.common.files import FileError, file_error, is_of_files
from capgate.common.text import one_line
from capgate.gate.verdict import Scope, Verdict
from capgate.report.text.terminal import render_judgement
from capgate.run.judgement import Judgement
from capgate.run.run import Run
from capgate.store.shard import Shard

_J = TypeVar("_J", bound=Judgement | None)

JUDGEMENT = pytest.StashKey[dict[str, Any]]()
"""Where a test's node keeps its judgement, for reports made in the same process."""


class Bench:
    """The run, for the length of one test.

    Args:
        run: This process's part in the run.
        node: The test.
        preflighted: The targets whose preflight is a test of this session.
        whole: The targets whose suite is a test of this session.
    """

    def __init__(
        self,
        run: Run,
        node: pytest.Item,
        preflighted: frozenset[str],
        whole: frozenset[str] = frozenset(),
    ) -> None:
        self._judge = run.judge
        self._run = run
        self._benchmark = run.benchmark.name
        self._preflight = Shard("preflight", self._benchmark)
        self._node = node
        self._preflighted = preflighted
        self._whole = whole

    def preflight(self, target: str) -> None:
        """Fails unless the target can be judged."""
        fault = self._fault(target, self._judge.preflight)
        if fault is not None:
            self._fail_by(self._error(target, self._preflight, fault, "suite"))
        self._note(target, self._preflight, None)

    def subject(self, target: str, subject: str) -> None:
        """Fails where a subject by itself shows a loss."""
        self._reach(target)
        shard = Shard("group", self._benchmark, subject)
        try:
            if self._run.losses.fault(target):
                self._skip_lost(target)
            judgement = self._judged(
                target, shard, "subject", lambda: self._judge.subject(target, subject)
            )
        except (ServerEndedError, FileError, StoreError) as error:
            first = self._run.losses.note(target, str(error))
            # One test tells of it: the suite's where the session has it, which comes last.
            if target in self._whole or not first:
                self._skip_lost(target)
            judgement = self._error(target, shard, error, "subject")
        if judgement is None:
            pytest.skip(f"--limit {self._run.settings.limit} left no question of this subject")
        self._settle(judgement)

    def suite(self, target: str) -> None:
        """Fails where the whole benchmark shows a loss."""
        self._reach(target)
        self._settle(
            self._judged(
                target, Shard("suite", self._benchmark), "suite", lambda: self._judge.suite(target)
            )
        )

    def quick(self, target: str) -> None:
        """Fails where a growing random sample shows a loss."""
        self._reach(target)
        self._settle(
            self._judged(
                target, Shard("quick", self._benchmark), "quick", lambda: self._judge.quick(target)
            )
        )

    def _reach(self, target: str) -> None:
        """Has the target's server up; where preflight tells of its fault, one telling will do."""
        if target in self._preflighted:
            if self._fault(target, self._judge.preflight) is not None:
                pytest.skip(f"not run: the preflight of {target} failed")
            return
        fault = self._fault(target, self._run.ready_target, self._run.reference)
        if fault is not None:
            self._fail_by(self._error(target, self._preflight, fault, "suite"))

    @staticmethod
    def _skip_lost(target: str) -> NoReturn:
        pytest.skip(f"not run: {target} can't be asked any more")

    def _fault(self, target: str, *calls: Callable[[str], object]) -> CapgateError | None:
        """What one of the calls raised; failing outside of `except` shows it only once."""
        try:
            with self._own_faults(target, self._preflight, "suite"):
                for call in calls:
                    call(target)
        except CapgateError as error:
            return error
        return None

    def _judged(
        self, target: str, shard: Shard, scope: Scope, judge: Callable[[], _J]
    ) -> _J | Judgement:
        """A judgement; that it could not be had is one as well.

        Raises:
            ServerEndedError: The server stopped answering, which one test tells for all.
            FileError: The disk does not take what is written; likewise, for a subject's test.
            StoreError: The same of the store.
        """
        try:
            with self._own_faults(target, shard, scope):
                return judge()
        except ServerEndedError:
            raise
        except CapgateError as error:
            if scope == "subject" and isinstance(error, FileError | StoreError):
                raise
            return self._error(target, shard, error, scope)

    @contextlib.contextmanager
    def _own_faults(self, target: str, shard: Shard, scope: Scope) -> Iterator[None]:
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
            self._attach(self._error(target, shard, fault, scope))
            raise

    def _error(self, target: str, shard: Shard, error: CapgateError, scope: Scope) -> Judgement:
        subject = shard.name if scope == "subject" else None
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
        properties = {"target": target, "shard": shard.label, "verdict": kind, **numbers}
        self._node.user_properties.extend(
            (f"capgate_{name}", value) for name, value in properties.items() if value is not None
        )
