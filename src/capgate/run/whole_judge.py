"""A whole run of one target: each subject by itself, and the suite of all subjects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from capgate.asking.ages import dated
from capgate.asking.progress import Feed
from capgate.asking.ready_target import Progress, QuestionBatch
from capgate.benchmarks.recorded import nouns_of
from capgate.common.answers import Answer
from capgate.common.errors import ContradictionError, ServerEndedError
from capgate.gate.verdict import Verdict
from capgate.run.answered import (
    Results,
    all_alike,
    answers_of,
    bounded,
    no_answer,
    not_measured,
)
from capgate.run.asker import Asker
from capgate.run.judgement import Judgement, Usage
from capgate.run.reference import judge_one, judge_whole, rows
from capgate.run.run_record import RunRecord
from capgate.run.second_looks import SecondLooks
from capgate.run.target_plan import TargetPlan
from capgate.serving.lost import Losses
from capgate.store.shard import Shard


@dataclass(frozen=True)
class WholeJudge:
    """Judges one target on the whole benchmark, subject by subject.

    Attributes:
        plan: The target's plan.
        asker: Has its questions answered.
        record: What the run keeps.
        losses: Which targets were lost in the middle of the run.
        feed: Told of each answer, where progress is shown.
        say: Shows a line of progress.
    """

    plan: TargetPlan
    asker: Asker
    record: RunRecord
    losses: Losses
    feed: Feed | None
    say: Callable[[str], None]

    def subject(self, subject: str, following: Sequence[str]) -> Judgement | None:
        """Has one subject answered and judges it by itself; None where no question is chosen.

        Args:
            subject: The subject.
            following: The subjects that the session's tests ask after it.

        Raises:
            ServerEndedError: A server that it needs stopped answering.
        """
        plan = self.plan
        questions = plan.selection.by_subject.get(subject, ())
        if not questions:
            return None
        results = self.asker.answer(
            QuestionBatch(subject, questions),
            ahead=plan.batches(following),
            progress=None if self.feed is None else self._own(self.feed.answer),
        )
        if self.feed is not None:
            self.feed.subject(plan.target)
        self.asker.check_reachable(results)
        plan.check_routes(results[plan.target].answers, whole=False)
        verdict = self._of_subject(subject, results)
        if not following:
            # No test of this target may come after this one to look at its server.
            self.asker.finish()
        verdict = bounded(verdict, [results])
        usage = [results[plan.target]]
        if plan.confirm and verdict is not None and verdict.kind == "lost":
            looks = SecondLooks(plan, self.asker, self.say)
            verdict, again = looks.at_subject(subject, verdict)
            usage.append(again[plan.target])
        verdict = self.record.count(plan, "full", dated(verdict, [results]))
        shard = Shard("group", self.record.benchmark, subject)
        return self.record.keep(Judgement(plan.target, shard, verdict, Usage.of(usage)))

    def _of_subject(self, subject: str, results: Results) -> Verdict | None:
        plan = self.plan
        dead = no_answer([results])
        if dead is not None:
            fault = self.asker.with_cause(dead)
            return Verdict.of_error(fault, scope="subject", subject=subject)
        return judge_one(
            plan.reference,
            rows(plan.reference, answers_of([results]), plan.target),
            plan.policy,
            subject=subject,
            n_subjects=len(plan.subjects),
            budget=plan.budget(),
        ) or not_measured(results[plan.target].answers, plan.policy, "subject", subject)

    def suite(self) -> Judgement:
        """Judges the target on all subjects, having answered what is still missing."""
        plan, shard = self.plan, Shard("suite", self.record.benchmark)
        chosen = len(plan.selection)
        try:
            batches = self._answer_all_alike()
        except ServerEndedError as error:
            self.losses.note(plan.target, str(error))
            fault = Verdict.of_error(error, scope="suite")
            used = self.record.used(plan.target, chosen)
            return self.record.keep(Judgement(plan.target, shard, fault, used))
        verdict = bounded(self._of_suite(batches), batches)
        usage = [results[plan.target] for results in batches]
        # The answers were asked for by the subjects' own tests, perhaps in other processes.
        asked = sum(result.asked_in_run for result in usage)
        if plan.confirm and verdict is not None:
            verdict, again = SecondLooks(plan, self.asker, self.say).at_suite(verdict)
            usage += [results[plan.target] for results in again]
            asked += sum(results[plan.target].asked for results in again)
        verdict = self.record.count(plan, "full", dated(verdict, batches))
        took = replace(Usage.of(usage), asked=asked)
        return self.record.keep(Judgement(plan.target, shard, verdict, took))

    def _of_suite(self, batches: Sequence[Results]) -> Verdict | None:
        plan = self.plan
        dead = no_answer(batches)
        if dead is not None:
            return Verdict.of_error(self.asker.with_cause(dead), scope="suite")
        answers = answers_of(batches)
        if plan.reference.kind == "base" and all_alike(answers, plan.reference.target, plan.target):
            self.asker.check_live()
        plan.check_routes(answers[plan.target], whole=True)
        found = rows(plan.reference, answers, plan.target)
        return judge_whole(
            plan.reference,
            found,
            plan.policy,
            parents=plan.parents,
            budget=plan.budget(),
            nouns=nouns_of(self.record.benchmark),
        ) or not_measured(answers[plan.target], plan.policy, "suite")

    def _own(self, told: Progress) -> Progress:
        """Tells of this target's answers alone: its base's own tests count the base's."""

        def own(target: str, answer: Answer, asked: bool) -> None:
            if target == self.plan.target:
                told(target, answer, asked)

        return own

    def _answer_all_alike(self) -> list[Results]:
        """Has all subjects answered by a server that answers at the end as it did at the start.

        Raises:
            ContradictionError: It does not, though what it answered otherwise was asked again.
            ServerEndedError: A server stopped answering, now or in a subject's own test.
        """
        try:
            batches = self._answer_all()
            self.asker.finish()
        except ContradictionError as error:
            self.say(f"{error.what}; what it answered since the last look is asked again")
            batches = self._answer_all()
            self.asker.finish()
        return batches

    def _answer_all(self) -> list[Results]:
        """Has each subject answered that is not yet.

        Raises:
            ServerEndedError: A server stopped answering, now or in a subject's own test.
        """
        if fault := self.losses.fault(self.plan.target):
            raise ServerEndedError(fault)
        wanted = self.plan.batches()
        progress = None if self.feed is None else self._own(self.feed.late_answer)
        batches: list[Results] = []
        for at, one in enumerate(wanted, start=1):
            batches.append(self.asker.answer(one, ahead=wanted[at:], progress=progress))
            self.asker.check_reachable(batches[-1])
        return batches
