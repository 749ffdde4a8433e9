"""Judging the targets of a run: preflight, subjects, suite and quick runs.

A judge is handed a target's plan and an asker. It starts no server, reads no settings and does
not decide what is compared with what; what the answers mean is the gate's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from capgate.asking.progress import Feed
from capgate.common.errors import CapgateError
from capgate.gate.verdict import Verdict
from capgate.run.asker import Asker
from capgate.run.judgement import Judgement
from capgate.run.quick_judge import QuickRun
from capgate.run.run_record import RunRecord
from capgate.run.session_tests import SessionTests
from capgate.run.target_plan import TargetPlan
from capgate.run.whole_judge import WholeJudge
from capgate.serving.lost import Losses
from capgate.store.shard import Shard


class Judge:
    """Judges the targets of a run, in one of its processes.

    Args:
        plan: Target to its plan; raises CapgateError where it has none, such as for a target
            that does not answer.
        asker: Target to what has its questions answered.
        record: What the run keeps.
        losses: Which targets were lost in the middle of the run.
        loading: Target to a context that loads what it is asked, while another process makes its
            preflight.
        session: What the session's tests will ask.
        feed: Told of each answer, where progress is shown.
        say: Shows a line of progress.
    """

    def __init__(
        self,
        plan: Callable[[str], TargetPlan],
        asker: Callable[[str], Asker],
        record: RunRecord,
        *,
        losses: Losses,
        loading: Callable[[str], AbstractContextManager[None]] = lambda target: nullcontext(),  # noqa: ARG005
        session: SessionTests | None = None,
        feed: Feed | None = None,
        say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
    ) -> None:
        self._plan = plan
        self._asker = asker
        self._record = record
        self._losses = losses
        self._loading = loading
        self._session = session or SessionTests()
        self._feed = feed
        self._say = say
        self._preflights: dict[str, Mapping[str, Any]] = {}

    def preflight(self, target: str) -> None:
        """Makes sure that a target can be judged: reachable, key, model, one answer in form.

        It is asked once in a run, by the process that comes first.

        Raises:
            CapgateError: It can't.
        """
        if target not in self._preflights:
            self._preflights[target] = self._record.preflight(
                target, lambda: self._probe(target), lambda: self._loading(target)
            )
        found = self._preflights[target]
        if found["verdict"] is not None:
            raise CapgateError(" ".join(found["verdict"]["reasons"]))
        # Another process may have asked the probe that tells.
        if begin_in_thought := found.get("begin_in_thought"):
            self._asker(target).note_thoughts(begin_in_thought)

    def _probe(self, target: str) -> dict[str, Any]:
        verdict: Verdict | None = None
        begin_in_thought: list[str] = []
        try:
            plan = self._plan(target)
            for probe in self._asker(target).probe():
                if probe.begins_in_thought:
                    begin_in_thought.append(probe.target)
                if probe.note:
                    self._record.note(probe.target, probe.note)
                if probe.target == target:
                    plan.check_routes([probe.answer], whole=False)
        except CapgateError as error:
            verdict = Verdict.of_error(error, scope="suite")
        ended = Judgement(
            target,
            Shard("preflight", self._record.benchmark),
            verdict,
            None,
            begin_in_thought=tuple(begin_in_thought),
        )
        return self._record.keep(ended).facts()

    def subject(self, target: str, subject: str) -> Judgement | None:
        """Has one subject answered and judges it by itself; None where no question is chosen.

        Raises:
            ServerEndedError: A server that it needs stopped answering.
            CapgateError: The target can't be judged.
        """
        following = self._session.following(target, subject)
        return self._whole(target).subject(subject, following)

    def suite(self, target: str) -> Judgement:
        """Judges a target on all subjects, having answered what is still missing.

        Raises:
            CapgateError: The target can't be judged.
        """
        return self._whole(target).suite()

    def quick(self, target: str) -> Judgement:
        """Asks in random order over all subjects until the verdict is in.

        Raises:
            CapgateError: The target can't be judged.
        """
        return self.quick_run(target, self._say).to_its_end()

    def quick_run(self, target: str, say: Callable[[str], None]) -> QuickRun:
        """Begins a quick run, whose batches the caller has asked.

        Args:
            target: The target's id.
            say: Shows a line of progress.

        Raises:
            CapgateError: The target can't be judged.
        """
        plan, asker = self._plan(target), self._asker(target)
        return QuickRun(plan, asker, self._record, losses=self._losses, say=say)

    def _whole(self, target: str) -> WholeJudge:
        plan = self._plan(target)
        return WholeJudge(
            plan, self._asker(target), self._record, self._losses, self._feed, self._say
        )
