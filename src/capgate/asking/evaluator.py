"""A shard of questions × targets → answers, through Inspect, by way of the store.

Recording comes first and deciding second: nothing here judges an answer beyond what
inspect_evals' scorer says of it.
"""

from __future__ import annotations

import copy
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from capgate.asking.adoption import ADOPTED_BY, answers_alike
from capgate.asking.ages import Age
from capgate.asking.cost_limit import CostLimit, TargetCost
from capgate.asking.fingerprint import as_kept, fingerprint, request_fields
from capgate.asking.inspect_backend.read_sample import answer_of, error_answer
from capgate.asking.jobs import Job, Part, are_apart, at_once, claim_of, claims_of, in_order
from capgate.asking.ready_target import Progress, QuestionBatch, ReadyTarget, ShardResult
from capgate.asking.recheck import Recheck, found_to_mix, held
from capgate.asking.weights import with_weights
from capgate.benchmarks.mmlu.task import MmluTask
from capgate.benchmarks.questions import Question
from capgate.client.faults import CONNECTION_KINDS
from capgate.client.limits import ClientLimits
from capgate.client.pacing import ModelTurns
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import (
    CapgateError,
    ConfigError,
    ContradictionError,
    ServerEndedError,
    StoreError,
)
from capgate.common.files import FileError
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.serving.adapters.liveness import contradiction
from capgate.serving.endpoint import Endpoint
from capgate.serving.lost import UnreachableTargets
from capgate.serving.sharing import asking
from capgate.store.answer_store import Store, Stored
from capgate.store.shard import Look

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalSample
    from inspect_ai.model import Model


_AHEAD: Final = 60.0
"""Seconds of a server's work that are asked for in one evaluation, where so much is wanted; of
several processes each takes its share, so that none has long to wait for another in the end."""

_IN_PROGRESS: Final = 3
"""Samples in progress for each connection. The client bounds what is in flight; the others stand
ready there, so that a place is taken when it is free and not when a sample is scored and logged."""


class Evaluator:
    """Asks questions for one process of a run.

    Args:
        store: Where answers are found and kept.
        settings: The run's settings.
        mmlu_task: The benchmark's task.
        run: The run's id.
        logs: Folder for Inspect's logs.
        share: Into how many processes a target's connections are divided.
        cost_limit: What the run may spend, where it is bounded.
        post_mortem: Tells why a target's server has ended, `""` if it has not.
        say: Shows a line of progress.
        tell: Shows a line once in the run: takes its topic and the line.

    Attributes:
        unreachable: The targets that the latest requests could not reach.
        look: Why it asks.
    """

    look: Look = "first"

    def __init__(
        self,
        store: Store,
        settings: Settings,
        mmlu_task: MmluTask,
        *,
        run: str,
        logs: Path,
        share: int = 1,
        cost_limit: CostLimit | None = None,
        post_mortem: Callable[[str], str] = lambda target: "",  # noqa: ARG005
        say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
        tell: Callable[[str, str], None] = lambda topic, line: None,  # noqa: ARG005
    ) -> None:
        self.unreachable = UnreachableTargets()
        self.store = store
        self.settings = settings
        self.mmlu_task = mmlu_task
        self.run = run
        self._logs = logs
        self._share = share
        self._cost_limit = cost_limit
        self._post_mortem = post_mortem
        self._say = say
        self._tell = tell
        self._disk_fault: StoreError | FileError | None = None
        self._early: dict[tuple[Look, str], dict[str, ShardResult]] = {}
        self._pace: dict[str, float] = {}
        self._turns: defaultdict[str, ModelTurns] = defaultdict(ModelTurns)
        self._recheck = Recheck(store)

    def ready_target(self, target: Target, endpoint: Endpoint) -> ReadyTarget:
        """Makes a target ready to be asked.

        Raises:
            ConfigError: Its server can't do what the target asks for, or its price is not
                known where the run's cost is bounded.
        """
        from inspect_ai.model import GenerateConfig, get_model

        from capgate.asking.inspect_backend.provider import CapgateAPI

        model = get_model(
            f"capgate/{endpoint.model}",
            base_url=endpoint.base_url,
            api_key=endpoint.key or "",
            memoize=False,
            target=target.id,
            limits=ClientLimits(
                connections=max(1, -(-target.max_connections // self._share)),
                attempt_timeout=target.request_timeout,
                max_retries=target.max_retries,
            ),
            extra_body=request_fields(target, endpoint),
            max_tokens_field=endpoint.max_tokens_field,
            config=GenerateConfig(
                logprobs=True if target.logprobs else None, top_logprobs=target.logprobs
            ),
        )
        assert isinstance(model.api, CapgateAPI)
        target_cost = self._target_cost(target, endpoint)
        model.api.offer, model.api.target_cost = endpoint.offer, target_cost
        if endpoint.apart:
            model.api.turns = self._turns[endpoint.base_url]
        model.api.client.notify = functools.partial(self._notify, endpoint.base_url)
        model.api.redactor = project_redactor(self.settings).and_also([endpoint.key or ""])
        plain = fingerprint(target, endpoint, self.settings, self.mmlu_task)
        notes: list[str] = []
        known = with_weights(
            plain,
            endpoint,
            self.store,
            prompt=self.mmlu_task.prompt_hash,
            run=self.run,
            adopt=lambda kept: self._answers_alike(model, kept, endpoint),
            say=notes.append,
        )
        known, outdated = as_kept(known, self.store, self.mmlu_task.prompt_hash)
        notes += outdated
        for note in notes:
            self._tell(f"weights of {target.id}", f"{target.id}: {note}")
        endpoint = replace(endpoint, notes=(*endpoint.notes, *notes))
        context = self.store.context(known.hash, self.mmlu_task.prompt_hash, known.facts)
        return ReadyTarget(target.id, target, endpoint, known, context, model, target_cost)

    def for_look(self, look: Look) -> Self:
        """This evaluator, asking for another reason: its answers are found and kept apart."""
        other = copy.copy(self)
        other.look = look
        return other

    def _answers_alike(self, model: Model, kept: str, endpoint: Endpoint) -> bool:
        with asking(endpoint.base_url, alone=endpoint.apart):
            return answers_alike(
                model,
                self.store.some_answers_under(kept, ADOPTED_BY),
                self.store,
                self.mmlu_task,
                self._logs,
                temperature=self.settings.temperature,
            )

    def _notify(self, url: str, topic: str, line: str) -> None:
        # Base and adapter have one server, and each process has its own clients of it.
        with suppress(CapgateError):
            self._tell(f"{topic} {url}", line)

    def _target_cost(self, target: Target, endpoint: Endpoint) -> TargetCost | None:
        if self._cost_limit is None or endpoint.offer is None:
            return None
        if endpoint.offer.dearest is None:
            raise ConfigError(
                "its price is not known, so --max-cost can't be kept",
                target=target.id,
                remedy="choose a model that OpenRouter lists with a price, or leave --max-cost out",
            )
        return TargetCost(target.id, endpoint.offer.dearest, self._cost_limit)

    def answer(
        self,
        questions: Sequence[Question],
        ready_targets: Sequence[ReadyTarget],
        *,
        shard: str,
        ahead: Iterable[QuestionBatch] = (),
        progress: Progress | None = None,
        fresh: bool = False,
    ) -> dict[str, ShardResult]:
        """Has each target answer each question, asking only what the store lacks.

        Targets are asked side by side in one evaluation, unless their server mixes them
        up (`Endpoint.apart`): then it answers one after the other. What another process is
        asking at this moment is waited for.

        Args:
            questions: The shard's questions.
            ready_targets: Whom to ask.
            shard: Its name, for logs and tasks.
            ahead: What the same targets will be asked next. So much of it is asked along
                that the server has a few seconds' work at a time, since it has none between two
                evaluations; its results are given out when they are asked for.
            progress: Told of each answer as it comes.
            fresh: Leave aside what earlier runs were answered (as `--fresh` does).

        Returns:
            Target's id to its result.

        Raises:
            ServerEndedError: The store lacks an answer, and whose it is has no server any more.
            StoreError: The store has failed, now or before: what is asked could not be kept.
            FileError: The logs can't be written, now or before.
        """
        if self._disk_fault is not None:
            raise self._disk_fault
        wanted = QuestionBatch(shard, questions)
        key = (self.look, claim_of(wanted, ready_targets))
        if key in self._early:
            return self._early.pop(key)
        try:
            early = self._answer(wanted, ready_targets, ahead, progress, fresh=fresh)
        except (StoreError, FileError) as fault:
            self._disk_fault = fault
            raise
        except ContradictionError:
            # What was asked along may be left out as well.
            self._early.clear()
            raise
        self._early |= {(self.look, claim): results for claim, results in early.items()}
        return self._early.pop(key)

    def answer_each(
        self,
        shards: Sequence[QuestionBatch],
        ready_targets: Sequence[ReadyTarget],
        progress: Progress | None = None,
    ) -> Iterator[tuple[QuestionBatch, dict[str, ShardResult]]]:
        """Has shards answered one after the other, those that follow being asked along.

        Yields:
            Each shard and its results, as `answer` gives them.
        """
        for at, shard in enumerate(shards, start=1):
            results = self.answer(
                shard.questions,
                ready_targets,
                shard=shard.name,
                ahead=shards[at:],
                progress=progress,
            )
            yield shard, results

    def _answer(
        self,
        wanted: QuestionBatch,
        ready_targets: Sequence[ReadyTarget],
        ahead: Iterable[QuestionBatch],
        progress: Progress | None,
        *,
        fresh: bool,
    ) -> dict[str, dict[str, ShardResult]]:
        """The results of `wanted` and of what was asked along with it, by claim."""
        fresh = fresh or self.settings.fresh
        with ExitStack() as claims:

            def take(shard: QuestionBatch, claim: str) -> Part:
                self.store.keep_questions(shard.questions)
                return self._part(shard, claim, ready_targets, progress, fresh=fresh)

            claim = claim_of(wanted, ready_targets)
            for name in claims_of(wanted, ready_targets):
                claims.enter_context(
                    self.store.claim(name, waiting=lambda: self._tell_waiting(wanted.name))
                )
            parts = [take(wanted, claim)]
            room = self._room(ready_targets) if parts[0].lacking else 0
            for shard in ahead:
                if sum(part.lacking for part in parts) >= room:
                    break
                claim = claim_of(shard, ready_targets)
                # What another process has taken is left to it: to wait for a second claim while
                # holding one could go round in a circle.
                if (self.look, claim) not in self._early and self._claim_all(
                    claims, claims_of(shard, ready_targets)
                ):
                    parts.append(take(shard, claim))
            started = time.monotonic()
            asked = [one for one in ready_targets if any(part.missing[one.id] for part in parts)]
            if asked:
                for one in asked:
                    self._check_server(one)
                with self.holding(asked) as ready:
                    self._recheck.begin(ready)
                    self._ask(parts, ready, progress)
                    self._recheck.look(ready, self.run)
            each = (time.monotonic() - started) / max(sum(part.lacking for part in parts), 1)
        return {part.claim: self._results(part, ready_targets, each, fresh=fresh) for part in parts}

    def _room(self, ready_targets: Sequence[ReadyTarget]) -> float:
        """How many questions the targets' server answers in the time of an evaluation."""
        pace = min(self._pace.get(one.endpoint.base_url, 0.0) for one in ready_targets)
        return _AHEAD / self._share * pace

    def _part(
        self,
        shard: QuestionBatch,
        claim: str,
        ready_targets: Sequence[ReadyTarget],
        progress: Progress | None,
        *,
        fresh: bool,
    ) -> Part:
        """What of a shard is to be asked; the rest is found, and counts from now on."""
        part = Part(shard, claim)
        for ready_target in ready_targets:
            found = self._find(ready_target, shard, fresh=fresh)
            self.store.reuse(
                (stored.id for stored in found.values()),
                run=self.run,
                target=ready_target.id,
                look=self.look,
            )
            part.missing[ready_target.id] = [q for q in shard.questions if q.hash not in found]
            part.not_put[ready_target.id] = {}
            if progress is not None:
                for stored in found.values():
                    progress(ready_target.id, stored.answer, False)
        return part

    def _results(
        self, part: Part, ready_targets: Sequence[ReadyTarget], each: float, *, fresh: bool
    ) -> dict[str, ShardResult]:
        results: dict[str, ShardResult] = {}
        for ready_target in ready_targets:
            found = self._find(ready_target, part.shard, fresh=fresh)
            mine = part.not_put[ready_target.id]
            if not {q.hash for q in part.shard.questions} <= found.keys() | mine.keys():
                raise contradiction(ready_target.endpoint, "another process of this run found that")
            answers = tuple(
                mine[q.hash] if q.hash in mine else found[q.hash].answer
                for q in part.shard.questions
            )
            results[ready_target.id] = ShardResult(
                answers,
                len(part.missing[ready_target.id]) - len(mine),
                each * part.lacking,
                part.logs.get(ready_target.id),
                next((a.text for a in answers if a.state is AnswerState.ERROR), ""),
                len(mine),
                self._age(found.values(), len(answers)),
            )
        return results

    def _age(self, found: Collection[Stored], answers: int) -> Age:
        earlier = [one.created for one in found if one.run != self.run]
        return Age(answers, len(earlier), max(earlier, default=0.0))

    def _check_server(self, ready_target: ReadyTarget) -> None:
        """Spares each shard the wait for a server that can't come back."""
        if self._post_mortem(ready_target.id):
            raise ServerEndedError(
                "its server has ended, so it was not asked",
                target=ready_target.id,
                remedy="start the run again; only what has no answer is asked",
            )

    def finish(self, ready_targets: Sequence[ReadyTarget]) -> None:
        """Makes sure that targets still answer as they did, before they are judged.

        Raises:
            ContradictionError: One does not; what it answered since the last look is left out.
        """
        try:
            asked = self._recheck.asked(ready_targets, self.run)
            if asked:
                with self.holding(asked) as ready:
                    self._recheck.check(ready, self.run)
        except ContradictionError:
            self._early.clear()
            raise

    @contextmanager
    def holding(self, ready_targets: Sequence[ReadyTarget]) -> Iterator[Sequence[ReadyTarget]]:
        """Holds the right to ask targets' servers; alone where they mix models up."""
        ready = ready_targets
        while True:
            if found_to_mix(ready):
                ready = [self._put_apart(one) for one in ready]
            with held(ready, self._tell_waiting):
                # Another run may have found it while this one waited.
                if not found_to_mix(ready):
                    yield ready
                    return

    def _put_apart(self, one: ReadyTarget) -> ReadyTarget:
        from capgate.asking.inspect_backend.provider import CapgateAPI

        assert isinstance(one.model.api, CapgateAPI)
        one.model.api.turns = self._turns[one.endpoint.base_url]
        return replace(one, endpoint=replace(one.endpoint, apart=True))

    def _claim_all(self, claims: ExitStack, names: Sequence[str]) -> bool:
        """Adds claims to others that are held, unless another process holds one of them now."""
        with ExitStack() as mine:
            if all(self.store.claim_free(mine, name) for name in names):
                claims.push(mine.pop_all())
                return True
        return False

    def _tell_waiting(self, what: str) -> None:
        self._say(f"{what}: waiting for another process that asks at this moment")

    def _find(
        self, ready_target: ReadyTarget, shard: QuestionBatch, *, fresh: bool
    ) -> dict[str, Stored]:
        hashes = [question.hash for question in shard.questions]
        return self.store.find(
            ready_target.context,
            hashes,
            run=self.run,
            fresh=fresh,
            target=ready_target.id,
            look=self.look,
        )

    def _ask(
        self, parts: Sequence[Part], ready_targets: Sequence[ReadyTarget], progress: Progress | None
    ) -> None:
        """Asks the targets what they lack, in one evaluation."""
        from capgate.asking.inspect_backend.provider import fault_of, given_up, job_of, was_refused
        from capgate.asking.inspect_backend.run_eval import run_eval

        jobs: dict[tuple[str, str], Job] = {}
        tasks: list[Task] = []
        for part, ready_target in in_order(parts, ready_targets):
            job = Job(part, ready_target)
            target_cost = ready_target.target_cost
            if job.questions and target_cost is not None and target_cost.over:
                refusal = str(target_cost.refusal())
                job.not_put.update((q.hash, error_answer(q, refusal)) for q in job.questions)
            elif job.questions:
                task = self._task(job)
                tasks.append(task)
                jobs[ready_target.id, task.name] = job
        if not tasks:
            return
        scored, apart = 0, are_apart(ready_targets)

        def record(job: Job, answer: Answer) -> None:
            nonlocal scored
            one = job.ready_target
            self.store.add(one.context, answer, run=self.run, target=one.id, look=self.look)
            job.recorded.add(answer.question)
            scored += answer.state.scored
            if progress is not None:
                progress(one.id, answer, True)

        # A sample that an interrupt cancels fails too; which ones did is known at the end alone.
        unexplained: list[tuple[Job, Answer]] = []

        def on_sample(eval_id: str, sample: EvalSample) -> None:
            job = jobs[job_of(eval_id)]
            question, model = job.by_sample[str(sample.id)], job.ready_target.model
            answer, fault = answer_of(sample, question, model), fault_of(model, sample)
            if fault is not None:
                self.unreachable.failed(job.ready_target.id, fault, given_up=given_up(model))
            elif answer.state.scored:
                self.unreachable.answered(job.ready_target.id)
            if was_refused(model, sample):
                job.not_put[question.hash] = answer
            elif sample.error is not None and fault is None:
                unexplained.append((job, answer))
            else:
                record(job, answer)
            if fault is not None and fault.kind in CONNECTION_KINDS and apart:
                # Each of those whose turn comes would wait for the server for itself.
                self._check_server(job.ready_target)

        samples = _IN_PROGRESS * max(c.model.api.max_connections() for c in ready_targets)
        started = time.monotonic()
        logs = run_eval(
            tasks,
            None,
            self._logs,
            max_connections=samples,
            max_tasks=at_once(jobs.values(), 1 if apart else len(ready_targets), samples),
            on_sample=on_sample,
            temperature=self.settings.temperature,
        )
        pace = scored / (time.monotonic() - started)
        self._pace |= {one.endpoint.base_url: pace for one in ready_targets}
        if any(log.status == "cancelled" for log in logs):
            # Inspect keeps an interrupt to itself and returns what it has.
            raise KeyboardInterrupt
        for job, answer in unexplained:
            record(job, answer)
        for log in logs:
            job = jobs[job_of(log.eval.eval_id)]
            job.part.logs[job.ready_target.id] = Path(log.location)
        for job in jobs.values():
            for question in job.questions:
                if question.hash not in job.recorded | job.not_put.keys():
                    fault = CapgateError(
                        "the question was not asked: the evaluation ended before it",
                        target=job.ready_target.id,
                    )
                    record(job, error_answer(question, str(fault)))

    def _task(self, job: Job) -> Task:
        from capgate.asking.inspect_backend.provider import JOB, LOOK

        task = self.mmlu_task.task(job.questions, shard=job.part.shard.name)
        task.model = job.ready_target.model
        about = {JOB: job.ready_target.id, LOOK: self.look}
        task.metadata = {**(task.metadata or {}), **about}
        return task
