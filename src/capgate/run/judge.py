"""Judging a target: its questions are answered and the gate is asked.

What is compared with what is the run's business (`session`), what it means the gate's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from capgate.asking.ages import dated
from capgate.asking.ask_again import ask_again
from capgate.asking.probe import ask_probe, field_note
from capgate.asking.ready_target import QuestionBatch, ShardResult
from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, SUBJECTS
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.common.errors import CapgateError, ContradictionError, ServerEndedError
from capgate.gate.budget import Budget
from capgate.gate.conclude import too_many_errors, too_many_unread
from capgate.gate.policy import Policy
from capgate.gate.rows import Single, count_singles, seeded_order
from capgate.gate.tries import Kind
from capgate.gate.two_looks import confirm_subject, confirm_suite, first_look, second_look
from capgate.gate.verdict import Scope, Verdict
from capgate.run.judgement import QUICK_LOOK, Judgement, Usage
from capgate.run.reference import (
    BaselineReference,
    FloorReference,
    Reference,
    judge_again,
    judge_one,
    judge_whole,
    rows,
    sequential_gate,
    whole_budget,
)
from capgate.run.run import Run
from capgate.serving.adapters.liveness import check_live
from capgate.serving.routes import check_routes, is_routed, routes_of
from capgate.serving.sharing import asking
from capgate.store.shard import Shard
from capgate.store.tries import end

_PREFLIGHT: Final = Shard("preflight")
_SUITE: Final = Shard("suite")
_QUICK: Final = Shard("quick")

_BATCH: Final = (16, 128)

Results = dict[str, ShardResult]
"""Target's id to its result of one shard."""


class Judge:
    """Judges the targets of a run, in whichever of its processes.

    Args:
        run: This process's part in the run.

    Attributes:
        run: The same.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._preflights: dict[str, dict[str, Any]] = {}

    def preflight(self, target: str) -> None:
        """Makes sure that a target can be judged: reachable, key, model, one answer in form.

        It is asked once in a run, by whichever process comes first.

        Raises:
            CapgateError: It can't.
        """
        if target not in self._preflights:
            with self.run.store.claim(f"preflight-{self.run.id}-{target}", once=True):
                known = self.run.store.shards(self.run.id).get((target, _PREFLIGHT))
                self._preflights[target] = known or self._ask_probes(target)
        found = self._preflights[target]
        if found["verdict"] is not None:
            raise CapgateError(" ".join(found["verdict"]["reasons"]))
        # Another process may have asked the probe that tells.
        for name in found.get("begin_in_thought", ()):
            self.run.ready_target(name).api.begins_in_thought = True

    def _ask_probes(self, target: str) -> dict[str, Any]:
        verdict: Verdict | None = None
        begin_in_thought: list[str] = []
        try:
            self.run.reference(target)
            for one in self.run.ready_targets_for(target):
                with self.run.evaluator.holding([one]):
                    answer = ask_probe(
                        one, self.run.mmlu_task, self.run.settings, self.run.folder / "logs"
                    )
                if one.api.begins_in_thought:
                    begin_in_thought.append(one.id)
                if note := field_note(one):
                    self.run.note(one.id, note)
                if one.id == target:
                    self._check_routes(target, [answer], whole=False)
        except CapgateError as error:
            verdict = Verdict.of_error(error, scope="suite")
        ended = Judgement(
            target, _PREFLIGHT, verdict, None, begin_in_thought=tuple(begin_in_thought)
        )
        return self._ended(ended).facts()

    def subject(self, target: str, subject: str) -> Judgement | None:
        """Has one subject answered and judges it by itself; None where no question is chosen.

        Raises:
            ServerEndedError: A server that it needs stopped answering.
        """
        questions = self.run.selection(target).by_subject.get(subject, ())
        if not questions:
            return None
        reference = self.run.reference(target)
        ahead = self.run.shards(target, self.run.following(target, subject))
        results = self._answer(target, questions, subject, ahead=ahead)
        if self.run.feed is not None:
            self.run.feed.subject(target)
        self._check_reachable(target, results)
        self._check_routes(target, results[target].answers, whole=False)
        policy = self.run.policy(target)
        dead = _no_answer([results])
        verdict: Verdict | None
        if dead is not None:
            verdict = Verdict.of_error(
                self._with_cause(target, dead), scope="subject", subject=subject
            )
        else:
            found = rows(reference, _answers([results]), target)
            verdict = judge_one(
                reference,
                found,
                policy,
                subject=subject,
                n_subjects=len(self.run.settings.subjects),
                budget=self._budget(target),
            ) or _not_measured(results[target].answers, policy, "subject", subject)
        if not self.run.following(target, subject):
            # No test of this target may come after this one to look at its server.
            self.run.evaluator.finish(self.run.ready_targets_for(target))
        verdict = _bounded(verdict, [results])
        usage = [results[target]]
        if self.run.settings.confirm and verdict is not None and verdict.kind == "lost":
            again = self._ask_again(target, subject)
            second = self._second(target, subject, again, verdict)
            verdict, usage = confirm_subject(verdict, second), [*usage, again[target]]
        verdict = dated(verdict, [results])
        verdict = _counted(self.run, target, "full", verdict)
        return self._ended(
            Judgement(target, Shard("group", name=subject), verdict, Usage.of(usage))
        )

    def suite(self, target: str) -> Judgement:
        """Judges a target on all subjects, having answered what is still missing."""
        reference = self.run.reference(target)
        verdict: Verdict | None
        try:
            shards = self._answer_all_alike(target)
        except ServerEndedError as error:
            self.run.losses.note(target, str(error))
            verdict = Verdict.of_error(error, scope="suite")
            return self._ended(Judgement(target, _SUITE, verdict, self._used(target)))
        dead = _no_answer(shards)
        if dead is not None:
            verdict = Verdict.of_error(self._with_cause(target, dead), scope="suite")
        else:
            answers = _answers(shards)
            self._check_still_live(target, reference, answers)
            self._check_routes(target, answers[target], whole=True)
            found, policy = rows(reference, answers, target), self.run.policy(target)
            verdict = judge_whole(
                reference, found, policy, budget=self._budget(target)
            ) or _not_measured(answers[target], policy, "suite")
        verdict = _bounded(verdict, shards)
        usage = [results[target] for results in shards]
        # The answers were asked for by the subjects' own tests, perhaps in other processes.
        asked = self._used(target).asked
        if self.run.settings.confirm and verdict is not None:
            verdict, again = self._second_looks(target, verdict)
            usage += [results[target] for results in again]
            asked += sum(results[target].asked for results in again)
        verdict = dated(verdict, shards)
        verdict = _counted(self.run, target, "full", verdict)
        took = replace(Usage.of(usage), asked=asked)
        return self._ended(Judgement(target, _SUITE, verdict, took))

    def _answer_all_alike(self, target: str) -> list[Results]:
        """The same, of a server that answers at the end as it did when the run began.

        Raises:
            ContradictionError: It does not, though what it answered otherwise was asked again.
            ServerEndedError: A server stopped answering, now or in a subject's own test.
        """
        ready_targets = self.run.ready_targets_for(target)
        try:
            shards = self._answer_all(target)
            self.run.evaluator.finish(ready_targets)
        except ContradictionError as error:
            self.run.say(f"{error.what}; what it answered since the last look is asked again")
            shards = self._answer_all(target)
            self.run.evaluator.finish(ready_targets)
        return shards

    def _answer_all(self, target: str) -> list[Results]:
        """Has each subject answered that is not yet.

        Raises:
            ServerEndedError: A server stopped answering, now or in a subject's own test.
        """
        if fault := self.run.losses.fault(target):
            raise ServerEndedError(fault)
        wanted = self.run.shards(target)
        shards: list[Results] = []
        for at, one in enumerate(wanted, start=1):
            shards.append(
                self._answer(target, one.questions, one.name, late=True, ahead=wanted[at:])
            )
            self._check_reachable(target, shards[-1])
        return shards

    def _used(self, target: str) -> Usage:
        """What a target's part in the run took so far, whichever process asked."""
        return Usage.of_run(
            self.run.store.used(self.run.id, target), self.run.id, len(self.run.selection(target))
        )

    def quick(self, target: str) -> Judgement:
        """Asks in random order over all subjects until the verdict is in."""
        reference = self.run.reference(target)
        pool = {
            question.hash: question
            for question in self.run.questions(target).select(self.run.settings.subjects)
        }
        seed = self.run.seed(target)
        order = seeded_order(pool, seed=seed)
        gate = sequential_gate(
            reference,
            self.run.policy(target),
            population=len(order),
            seed=seed,
            share=1.0 if reference.kind == "none" else self.run.allowance(target, "quick").share,
        )
        # Where nothing can end it, a quick run is a short look.
        limit = self.run.settings.limit or (QUICK_LOOK if gate is None else len(order))
        limit = min(limit, len(order))
        size = min(max(self.run.targets[target].max_connections, _BATCH[0]), _BATCH[1])
        shards: list[Results] = []
        verdict: Verdict | None = None
        path: list[dict[str, Any]] = []
        for start in range(0, limit, size):
            batch = [pool[question] for question in order[start : min(start + size, limit)]]
            try:
                results = self._answer(target, batch, f"quick_{start // size + 1:03d}")
                shards.append(results)
                self._check_reachable(target, results)
            except ServerEndedError as error:
                verdict = Verdict.of_error(error, scope="quick")
                break
            self._check_routes(target, results[target].answers, whole=False)
            dead = _no_answer(shards, latest=results)
            if dead is not None:
                verdict = Verdict.of_error(self._with_cause(target, dead), scope="quick")
                break
            if _not_put([results]):
                break
            if gate is None:
                continue
            verdict = gate.update(rows(reference, _answers([results]), target))
            path.append(asdict(gate.progress))
            self.run.say(f"{target}  quick  {gate.progress}")
            if verdict is not None:
                break
        if verdict is None:
            verdict = (
                gate.finish(
                    "--max-cost was reached"
                    if _not_put(shards)
                    else f"the limit of {limit:,} questions was reached"
                )
                if gate is not None
                else _not_measured(_answers(shards)[target], self.run.policy(target), "quick")
            )
        verdict = _bounded(verdict, shards)
        if verdict is None or verdict.kind != "ERROR":
            self.run.evaluator.finish(self.run.ready_targets_for(target))
        if verdict is not None and verdict.kind != "ERROR":
            self._check_still_live(target, reference, _answers(shards))
        verdict = dated(verdict, shards)
        verdict = _counted(self.run, target, "quick", verdict)
        usage = Usage.of([results[target] for results in shards])
        return self._ended(Judgement(target, _QUICK, verdict, usage, tuple(path)))

    def _budget(self, target: str) -> Budget:
        """How a whole-benchmark run's error shares are divided."""
        settings, reference = self.run.settings, self.run.reference(target)
        paired = not isinstance(reference, FloorReference)
        budget = whole_budget(self.run.policy(target), settings.subjects, paired=paired)
        if reference.kind != "none":
            budget = budget.spend(self.run.allowance(target, "full").share)
        return first_look(budget) if settings.confirm else budget

    def _ask_again(self, target: str, subject: str) -> Results:
        """Asks a subject that lost, or whose domain did, once more."""
        self.run.say(f"{target}  {subject}  failed at first and is asked again")
        return ask_again(
            self.run.evaluator,
            self.run.selection(target).by_subject[subject],
            self.run.ready_targets_for(target),
            look="confirm",
            name=subject,
        )

    def _second(self, target: str, subject: str, again: Results, first: Verdict) -> Verdict:
        """What a second look alone says of a subject."""
        dead = _no_answer([again])
        if dead is not None:
            return Verdict.of_error(dead, scope="subject", subject=subject)
        assert first.budget is not None
        reference = self.run.reference(target)
        second = judge_one(
            reference,
            rows(reference, _answers([again]), target),
            self.run.policy(target),
            subject=subject,
            n_subjects=1,
            budget=second_look(first.budget),
        )
        assert second is not None
        return second

    def _second_looks(self, target: str, first: Verdict) -> tuple[Verdict, list[Results]]:
        """Asks once more what the suite's test named; returns the verdict then, and the results."""
        chosen = self.run.selection(target).by_subject
        named = [one.name for one in first.failed_subjects]
        members = {
            one.name: [s for s in chosen if DOMAIN_OF.get(s) == one.name and chosen[s]]
            for one in first.failed_domains
        }
        wanted = dict.fromkeys([*named, *(s for mine in members.values() for s in mine)])
        if not wanted:
            return first, []
        asked = {subject: self._ask_again(target, subject) for subject in wanted}
        seconds = {s: self._second(target, s, asked[s], first) for s in named}
        domains = {
            name: self._second_of_domain(target, name, [asked[s] for s in mine], first)
            for name, mine in members.items()
        }
        return confirm_suite(first, seconds, domains), list(asked.values())

    def _second_of_domain(
        self, target: str, domain: str, again: Sequence[Results], first: Verdict
    ) -> Verdict:
        """What a second look alone says of a domain."""
        dead = _no_answer(again)
        if dead is not None:
            return Verdict.of_error(dead, scope="domain", subject=domain)
        assert first.budget is not None
        reference = self.run.reference(target)
        return judge_again(
            reference,
            rows(reference, _answers(again), target),
            self.run.policy(target),
            domain=domain,
            budget=second_look(first.budget),
        )

    def _answer(
        self,
        target: str,
        questions: Sequence[Question],
        shard: str,
        *,
        late: bool = False,
        ahead: Iterable[QuestionBatch] = (),
    ) -> Results:
        progress = None
        if self.run.feed is not None and shard in SUBJECTS:
            progress = self.run.feed.late_answer if late else self.run.feed.answer
        try:
            return self.run.evaluator.answer(
                questions,
                self.run.ready_targets_for(target),
                shard=shard,
                ahead=ahead,
                progress=progress,
            )
        except ServerEndedError as error:
            raise ServerEndedError(self._with_cause(target, str(error))) from None

    def _check_reachable(self, target: str, results: Results) -> None:
        """Makes sure that a shard lacks no answer for a server that stopped answering.

        Raises:
            ServerEndedError: It does.
        """
        for name, result in results.items():
            lacking = sum(not answer.state.scored for answer in result.answers) - result.not_put
            fault = self.run.evaluator.silence.fault(name)
            if lacking and fault:
                raise ServerEndedError(self._with_cause(target, fault))

    def _with_cause(self, target: str, fault: str) -> str:
        return "\n".join(filter(None, [fault, self.run.post_mortem(target)]))

    def _check_still_live(
        self, target: str, reference: Reference, answers: Mapping[str, Sequence[Answer]]
    ) -> None:
        """Makes sure that a candidate whose every text is its base's is still not its base.

        Raises:
            AdapterError: It is: the adapter changes nothing.
        """
        if reference.kind != "base":
            return
        pairs = zip(answers[reference.target], answers[target], strict=True)
        # An error's text and an empty one tell nothing of the model.
        if any(
            ours.text != theirs.text and (ours.text or theirs.text)
            for theirs, ours in pairs
            if theirs.state.scored and ours.state.scored
        ):
            return
        base, adapter = self.run.ready_targets_for(target)
        observation = base.endpoint.observation
        with asking(base.endpoint.base_url, alone=base.endpoint.engine == "vllm"):
            check_live(
                base.endpoint,
                adapter.endpoint,
                seen=None if observation is None else observation.signature,
            )

    def _check_routes(self, target: str, answers: Sequence[Answer], *, whole: bool) -> None:
        """Makes sure that the same routes answered a target and its recorded baseline.

        Raises:
            ReferenceMissingError: Others did, and `--allow-routes` does not name them.
        """
        reference = self.run.reference(target)
        if isinstance(reference, BaselineReference) and is_routed(reference.baseline.identity):
            theirs, allowed = reference.baseline.served_by, self.run.settings.allow_routes
            check_routes(target, routes_of(answers), theirs, allowed, whole=whole)

    def _ended(self, judgement: Judgement) -> Judgement:
        self.run.record(judgement)
        return judgement


def _answers(shards: Sequence[Results]) -> dict[str, list[Answer]]:
    """Target's id to its answers over some shards."""
    answers: dict[str, list[Answer]] = {}
    for results in shards:
        for target, result in results.items():
            answers.setdefault(target, []).extend(result.answers)
    return answers


def _no_answer(shards: Sequence[Results], *, latest: Results | None = None) -> str | None:
    """The fault of a target that is out of reach; None where all are within it.

    One is where it answered none of a shard's questions, unless that was a single one and it
    answered others: a question too long for it is no dead server.

    Args:
        shards: All that was asked so far.
        latest: The only shard to look at, where the earlier ones were looked at already.
    """
    for results in shards if latest is None else [latest]:
        for target, result in results.items():
            if result.not_put or any(answer.state.scored for answer in result.answers):
                continue
            if len(result.answers) > 1 or not any(
                answer.state.scored for one in shards for answer in one[target].answers
            ):
                return result.fault or "no question was answered"
    return None


def _not_put(shards: Sequence[Results]) -> int:
    """Questions that were not put, since they could have passed `--max-cost`."""
    return sum(result.not_put for results in shards for result in results.values())


def _bounded(verdict: Verdict | None, shards: Sequence[Results]) -> Verdict | None:
    """A verdict that tells first of questions that were not put for their cost."""
    left = _not_put(shards)
    if verdict is None or not left:
        return verdict
    reason = f"{left:,} questions were not put, since they could have passed --max-cost."
    return replace(verdict, reasons=(reason, *verdict.reasons))


def _not_measured(
    answers: Sequence[Answer], policy: Policy, scope: Scope, subject: str | None = None
) -> Verdict | None:
    """The verdict on answers that are only measured: None, unless too many say nothing."""
    counts = count_singles([Single.of(a) for a in answers])
    one_subject = scope == "subject"
    reasons = (
        too_many_errors(counts, policy),
        too_many_unread(counts, policy, few=one_subject) if counts.n else None,
    )
    if not any(reasons):
        return None
    return Verdict(
        kind="INCONCLUSIVE",
        scope=scope,
        subject=subject,
        counts=counts,
        policy=policy,
        reasons=tuple(filter(None, reasons)),
    )


def _counted(run: Run, target: str, kind: Kind, verdict: Verdict | None) -> Verdict | None:
    """Records a verdict as a try on its candidate; returns it, saying which try it was."""
    if verdict is None or verdict.kind == "ERROR" or verdict.reference is None:
        return verdict
    part = verdict.scope == "subject"
    lost = verdict.kind in ("lost", "REGRESSION")
    if lost or not part:
        said = "REGRESSION" if lost else verdict.kind
        end(run.store.transaction, run.id, target, kind, said, part=part)
    reason = run.allowance(target, kind).reason
    if not reason or (part and not lost):
        return verdict
    return replace(verdict, reasons=(*verdict.reasons, reason))
