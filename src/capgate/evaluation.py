"""A shard of questions × contestants → answers, through Inspect, by way of the store.

Recording comes first and deciding second: nothing here judges an answer beyond what
inspect_evals' scorer says of it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from capgate.answers import Answer, AnswerState
from capgate.client import ClientLimits
from capgate.config import Target
from capgate.datasets import Question
from capgate.errors import CapgateError, ConfigError, ServerEndedError, StoreError
from capgate.fingerprint import Fingerprint, fingerprint, request_fields
from capgate.known_secrets import project_redactor
from capgate.serving.endpoint import Endpoint
from capgate.settings import Settings
from capgate.spending import Meter, Spending
from capgate.store import Context, Store, Stored
from capgate.tasks import Harness

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalSample
    from inspect_ai.model import Model
    from inspect_ai.scorer import Score


@dataclass(frozen=True)
class Contestant:
    """A target that takes part in a run, ready to be asked.

    Attributes:
        id: The target's id.
        target: The target.
        endpoint: Where it answers.
        fingerprint: What its answers are known by.
        context: The store's number for it.
        model: Inspect's handle on it.
        meter: Its way to the run's purse, where the cost is bounded.
    """

    id: str
    target: Target
    endpoint: Endpoint
    fingerprint: Fingerprint
    context: Context
    model: Model = field(repr=False)
    meter: Meter | None = None


@dataclass(frozen=True)
class ShardResult:
    """How a contestant did on one shard.

    Attributes:
        answers: One for each question, in the questions' order.
        asked: How many of them this call asked for; the others were found in the store.
        seconds: Wall time of asking.
        log: Inspect's log of what was asked, if anything was.
        fault: The first fault among the errors, as the person should read it.
        not_put: Questions that were not put, since they could have passed `--max-cost`;
            they count as errors here and are not stored.
    """

    answers: tuple[Answer, ...]
    asked: int
    seconds: float
    log: Path | None
    fault: str = ""
    not_put: int = 0


Progress = Callable[[str, Answer, bool], None]
"""Called with the contestant's id, each answer, and whether it was asked for just now."""


class Evaluator:
    """Asks questions for one process of a run.

    Args:
        store: Where answers are found and kept.
        settings: The run's settings.
        harness: The benchmark's task.
        run: The run's id.
        logs: Folder for Inspect's logs.
        share: Into how many processes a target's connections are divided.
        purse: What the run may spend, where it is bounded.
        post_mortem: Tells why a target's server has ended, `""` if it has not.
        say: Shows a line of progress.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        harness: Harness,
        *,
        run: str,
        logs: Path,
        share: int = 1,
        purse: Spending | None = None,
        post_mortem: Callable[[str], str] = lambda target: "",  # noqa: ARG005
        say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
    ) -> None:
        self.store = store
        self.settings = settings
        self.harness = harness
        self.run = run
        self._logs = logs
        self._share = share
        self._purse = purse
        self._post_mortem = post_mortem
        self._say = say
        self._store_fault: StoreError | None = None

    def contestant(self, target: Target, endpoint: Endpoint) -> Contestant:
        """Makes a target ready to be asked.

        Raises:
            ConfigError: Its server can't do what the target asks for, or its price is not
                known where the run's cost is bounded.
        """
        from inspect_ai.model import GenerateConfig, get_model

        from capgate.provider import CapgateAPI

        known = fingerprint(target, endpoint, self.settings, self.harness)
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
            config=GenerateConfig(
                logprobs=True if target.logprobs else None, top_logprobs=target.logprobs
            ),
        )
        assert isinstance(model.api, CapgateAPI)
        meter = self._meter(target, endpoint)
        model.api.offer, model.api.meter = endpoint.offer, meter
        model.api.redactor = project_redactor(self.settings).and_also([endpoint.key or ""])
        context = self.store.context(known.hash, self.harness.prompt_hash, known.facts)
        return Contestant(target.id, target, endpoint, known, context, model, meter)

    def _meter(self, target: Target, endpoint: Endpoint) -> Meter | None:
        if self._purse is None or endpoint.offer is None:
            return None
        if endpoint.offer.dearest is None:
            raise ConfigError(
                "its price is not known, so --max-cost can't be kept",
                target=target.id,
                remedy="choose a model that OpenRouter lists with a price, or leave --max-cost out",
            )
        return Meter(target.id, endpoint.offer.dearest, self._purse)

    def answer(
        self,
        questions: Sequence[Question],
        contestants: Sequence[Contestant],
        *,
        shard: str,
        progress: Progress | None = None,
        fresh: bool = False,
    ) -> dict[str, ShardResult]:
        """Has each contestant answer each question, asking only what the store lacks.

        Contestants are asked side by side in one evaluation, unless their server mixes them
        up (`Endpoint.apart`): then one after the other. What another process is
        asking at this moment is waited for.

        Args:
            questions: The shard's questions.
            contestants: Whom to ask.
            shard: Its name, for logs and tasks.
            progress: Told of each answer as it comes.
            fresh: Leave aside what earlier runs were answered (as `--fresh` does).

        Returns:
            Contestant's id to its result.

        Raises:
            ServerEndedError: The store lacks an answer, and whose it is has no server any more.
            StoreError: The store has failed, now or before: what is asked could not be kept.
        """
        if self._store_fault is not None:
            raise self._store_fault
        try:
            return self._answer(questions, contestants, shard, progress, fresh=fresh)
        except StoreError as fault:
            self._store_fault = fault
            raise

    def _answer(
        self,
        questions: Sequence[Question],
        contestants: Sequence[Contestant],
        shard: str,
        progress: Progress | None,
        *,
        fresh: bool,
    ) -> dict[str, ShardResult]:
        hashes = [question.hash for question in questions]
        fresh = fresh or self.settings.fresh
        claim = hashlib.sha256(
            "".join([*(c.context.fingerprint for c in contestants), *hashes]).encode()
        ).hexdigest()[:24]
        started = time.monotonic()
        logs: dict[str, Path] = {}
        not_put: dict[str, dict[str, Answer]] = {contestant.id: {} for contestant in contestants}
        with self.store.claim(claim, waiting=lambda: self._tell_waiting(shard)):
            self.store.keep_questions(questions)
            missing: dict[str, list[Question]] = {}
            for contestant in contestants:
                found = self._find(contestant, hashes, fresh=fresh)
                self.store.reuse(
                    (stored.id for stored in found.values()), run=self.run, target=contestant.id
                )
                missing[contestant.id] = [q for q in questions if q.hash not in found]
                if progress is not None:
                    for stored in found.values():
                        progress(contestant.id, stored.answer, False)
            for group in _together(contestants):
                if any(missing[contestant.id] for contestant in group):
                    self._check_server(group[0])
                    with self._alone(group):
                        logs |= self._ask(missing, group, shard, progress, not_put)
        seconds = time.monotonic() - started
        results: dict[str, ShardResult] = {}
        for contestant in contestants:
            found = self._find(contestant, hashes, fresh=fresh)
            mine = not_put[contestant.id]
            answers = tuple(mine[h] if h in mine else found[h].answer for h in hashes)
            fault = next((a.text for a in answers if a.state is AnswerState.ERROR), "")
            results[contestant.id] = ShardResult(
                answers,
                len(missing[contestant.id]) - len(mine),
                seconds,
                logs.get(contestant.id),
                fault,
                len(mine),
            )
        return results

    def _check_server(self, contestant: Contestant) -> None:
        """Spares each shard the wait for a server that can't come back."""
        # A contestant that is asked in another form (`…#again`) has its target's server.
        if self._post_mortem(contestant.target.id):
            raise ServerEndedError(
                "its server has ended, so it was not asked",
                target=contestant.id,
                remedy="start the run again; only what has no answer is asked",
            )

    @contextmanager
    def _alone(self, group: Sequence[Contestant]) -> Iterator[None]:
        """Keeps other processes from asking a server that mixes up what it is asked at once."""
        endpoint = group[0].endpoint
        if not endpoint.apart:
            yield
            return
        name = hashlib.sha256(f"apart {endpoint.base_url}".encode()).hexdigest()[:24]
        with self.store.claim(name, waiting=lambda: self._tell_waiting(endpoint.base_url)):
            yield

    def _tell_waiting(self, what: str) -> None:
        self._say(f"{what}: waiting for another process that asks at this moment")

    def _find(
        self, contestant: Contestant, hashes: Sequence[str], *, fresh: bool
    ) -> dict[str, Stored]:
        return self.store.find(
            contestant.context, hashes, run=self.run, fresh=fresh, target=contestant.id
        )

    def _ask(
        self,
        missing: dict[str, list[Question]],
        contestants: Sequence[Contestant],
        shard: str,
        progress: Progress | None,
        not_put: dict[str, dict[str, Answer]],
    ) -> dict[str, Path]:
        from capgate.fasteval import run_eval
        from capgate.provider import fault_of, job_of, was_refused

        recorded: dict[str, set[str]] = {contestant.id: set() for contestant in contestants}

        def record(contestant: Contestant, answer: Answer) -> None:
            self.store.add(contestant.context, answer, run=self.run, target=contestant.id)
            recorded[contestant.id].add(answer.question)
            if progress is not None:
                progress(contestant.id, answer, True)

        tasks: list[Task] = []
        # A sample that an interrupt cancels fails too; which ones did is known at the end alone.
        unexplained: list[tuple[Contestant, Answer]] = []
        asked: dict[str, tuple[Contestant, dict[str, Question]]] = {}
        for contestant in contestants:
            questions = missing[contestant.id]
            meter = contestant.meter
            if questions and meter is not None and meter.over:
                refusal = str(meter.refusal())
                not_put[contestant.id].update((q.hash, _error(q, refusal)) for q in questions)
            elif questions:
                tasks.append(self._task(questions, contestant, shard))
                asked[contestant.id] = (contestant, {str(q.sample.id): q for q in questions})

        def on_sample(eval_id: str, sample: EvalSample) -> None:
            contestant, by_sample = asked[job_of(eval_id)]
            question = by_sample[str(sample.id)]
            answer = answer_of(sample, question, contestant.model)
            if was_refused(contestant.model, sample):
                not_put[contestant.id][question.hash] = answer
            elif sample.error is not None and fault_of(contestant.model, sample) is None:
                unexplained.append((contestant, answer))
            else:
                record(contestant, answer)

        if not tasks:
            return {}
        logs = run_eval(
            tasks,
            None,
            self._logs,
            max_connections=max(c.model.api.max_connections() for c in contestants),
            on_sample=on_sample,
            temperature=self.settings.temperature,
        )
        if any(log.status == "cancelled" for log in logs):
            # Inspect keeps an interrupt to itself and returns what it has.
            raise KeyboardInterrupt
        for contestant, answer in unexplained:
            record(contestant, answer)
        for contestant in contestants:
            ended = recorded[contestant.id] | not_put[contestant.id].keys()
            for question in missing[contestant.id]:
                if question.hash not in ended:
                    fault = CapgateError(
                        "the question was not asked: the evaluation ended before it",
                        target=contestant.id,
                    )
                    record(contestant, _error(question, str(fault)))
        return {job_of(log.eval.eval_id): Path(log.location) for log in logs}

    def _task(self, questions: Sequence[Question], contestant: Contestant, shard: str) -> Task:
        from capgate.provider import JOB

        task = self.harness.task(questions, shard=shard)
        task.model = contestant.model
        task.metadata = {**(task.metadata or {}), JOB: contestant.id}
        return task


def _together(contestants: Sequence[Contestant]) -> list[Sequence[Contestant]]:
    """Who is asked side by side in one evaluation."""
    if any(contestant.endpoint.apart for contestant in contestants):
        return [[contestant] for contestant in contestants]
    return [contestants]


def answer_of(sample: EvalSample, question: Question, model: Model) -> Answer:
    """What a finished sample amounts to.

    Args:
        sample: The sample as Inspect hands it out.
        question: The question it asked.
        model: The model that was asked.
    """
    from capgate.provider import facts_of, fault_of

    if sample.error is not None:
        fault = fault_of(model, sample)
        return _error(question, str(fault) if fault else sample.error.message)
    score = next(iter((sample.scores or {}).values()), None)
    if score is None:
        return _error(question, "Inspect ended the sample without a score")
    output = sample.output
    facts = facts_of(output)
    state, letter = state_of(score)
    return Answer(
        question=question.hash,
        subject=question.subject,
        state=state,
        choice=letter,
        text=output.completion,
        prompt_tokens=output.usage.input_tokens if output.usage else 0,
        completion_tokens=output.usage.output_tokens if output.usage else 0,
        seconds=facts.seconds,
        margin=_margin(output, letter),
        served_by=facts.served_by,
        cost=facts.cost,
    )


def state_of(score: Score) -> tuple[AnswerState, str]:
    """What the scorer says of an answer: its state, and the letter that was read."""
    letter = score.answer or ""
    if score.value == "C":
        return AnswerState.CORRECT, letter
    return AnswerState.WRONG if letter else AnswerState.UNPARSED, letter


def _error(question: Question, text: str) -> Answer:
    return Answer(question.hash, question.subject, AnswerState.ERROR, text=text)


def _margin(output: object, letter: str) -> float | None:
    """Natural-log odds of the answered letter over the next-best one, where both are known."""
    choices = getattr(output, "choices", None)
    logprobs = choices[0].logprobs if choices else None
    if logprobs is None or not letter:
        return None
    # The answer's letter is the last generated token that is one.
    for entry in reversed(logprobs.content):
        if entry.token.strip() != letter:
            continue
        best: dict[str, float] = {}
        for top in entry.top_logprobs or ():
            name = top.token.strip()
            if name in {"A", "B", "C", "D"}:
                best[name] = max(best.get(name, -float("inf")), top.logprob)
        best.setdefault(letter, entry.logprob)
        ranked = sorted(best.values(), reverse=True)
        return ranked[0] - ranked[1] if len(ranked) > 1 else None
    return None
