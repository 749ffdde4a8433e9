"""Questions × targets → answers, by way of the store: each is asked once and kept as it comes.

Nothing here judges an answer beyond what the benchmark's scorer says of it.

| part | job |
|---|---|
| `make_target` | makes a target ready to be asked |
| `claims` | the right to ask a batch, which one process has at a time |
| `stored_answers` | finds what is answered, keeps what comes, gives out results |
| `ask_missing` | asks the rest |
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from capgate.asking.ask_missing import ask_missing
from capgate.asking.batches import PendingBatch
from capgate.asking.claims import claim_of, take_free_claims, wait_for_claims
from capgate.asking.cost_limit import CostLimit
from capgate.asking.make_target import TargetMaker
from capgate.asking.ready_target import Progress, QuestionBatch, ReadyTarget, ShardResult
from capgate.asking.recheck import Recheck, found_to_mix, held
from capgate.asking.stored_answers import StoredAnswers
from capgate.benchmarks.mmlu.task import MmluTask
from capgate.benchmarks.questions import Question
from capgate.common.errors import ContradictionError, ServerEndedError, StoreError
from capgate.common.files import FileError
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.lost import UnreachableTargets
from capgate.store.answer_store import Store
from capgate.store.shard import Look

_AHEAD: Final = 60.0
"""Seconds of a server's work that are asked for in one evaluation, where so much is wanted. Of
several processes each takes its share, so that no process waits long for another at the end."""


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
        settings: The run's settings.
        mmlu_task: The benchmark's task.
        unreachable: Which targets could not be reached by the latest requests.
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
        self.settings = settings
        self.unreachable = UnreachableTargets()
        self._store = store
        self.mmlu_task = mmlu_task
        self._run = run
        self._logs = logs
        self._share = share
        self._post_mortem = post_mortem
        self._say = say
        self._targets = TargetMaker(
            store, settings, mmlu_task, run, logs, share=share, cost_limit=cost_limit, tell=tell
        )
        self._disk_fault: StoreError | FileError | None = None
        self._early: dict[tuple[Look, str], dict[str, ShardResult]] = {}
        self._pace: dict[str, float] = {}
        self._recheck = Recheck(store)

    def ready_target(self, target: Target, endpoint: Endpoint) -> ReadyTarget:
        """Makes a target ready to be asked.

        Raises:
            ConfigError: Its server can't do what the target asks for, or its price is not
                known where the run's cost is bounded.
        """
        return self._targets.make(target, endpoint)

    def for_look(self, look: Look) -> Self:
        """This evaluator, asking for another reason: its answers are found and kept apart."""
        other = copy.copy(self)
        other.look = look
        return other

    def answer(
        self,
        questions: Sequence[Question],
        targets: Sequence[ReadyTarget],
        *,
        shard: str,
        ahead: Iterable[QuestionBatch] = (),
        progress: Progress | None = None,
        fresh: bool = False,
    ) -> dict[str, ShardResult]:
        """Has each target answer each question, asking only what the store lacks.

        Targets are asked side by side in one evaluation. A server that mixes them up
        (`Endpoint.apart`) is asked for one after the other. Where another process is asking
        some of the questions at this moment, this waits for it.

        Args:
            questions: What to ask.
            targets: The targets to ask.
            shard: Name of the questions, for logs and tasks.
            ahead: What the same targets will be asked next. A part of it is asked along, enough
                for a minute, since a server has nothing to do between two evaluations. Its
                results are returned when they are asked for.
            progress: Told of each answer as it comes.
            fresh: Leave out what earlier runs were answered (as `--fresh` does).

        Returns:
            Target's id to its result.

        Raises:
            ServerEndedError: The store lacks an answer, and the target's server has ended.
            StoreError: The store has failed, now or before, so that answers could not be kept.
            FileError: The logs can't be written, now or before.
            ContradictionError: A target does not answer as it did when the run began.
        """
        if self._disk_fault is not None:
            raise self._disk_fault
        wanted = QuestionBatch(shard, questions)
        key = (self.look, claim_of(wanted, targets))
        if key in self._early:
            return self._early.pop(key)
        answers = StoredAnswers(
            self._store, self._run, self.look, fresh=fresh or self.settings.fresh
        )
        try:
            early = self._answer(wanted, targets, answers, ahead, progress)
        except (StoreError, FileError) as fault:
            self._disk_fault = fault
            raise
        except ContradictionError:
            # The answers to what was asked along may be left out as well.
            self._early.clear()
            raise
        self._early |= {(self.look, claim): results for claim, results in early.items()}
        return self._early.pop(key)

    def answer_each(
        self,
        batches: Sequence[QuestionBatch],
        targets: Sequence[ReadyTarget],
        progress: Progress | None = None,
    ) -> Iterator[tuple[QuestionBatch, dict[str, ShardResult]]]:
        """Has batches answered one after the other; the next ones are asked along.

        Yields:
            Each batch and its results, as `answer` returns them.
        """
        for at, batch in enumerate(batches, start=1):
            results = self.answer(
                batch.questions, targets, shard=batch.name, ahead=batches[at:], progress=progress
            )
            yield batch, results

    def finish(self, targets: Sequence[ReadyTarget]) -> None:
        """Makes sure that targets still answer as they did, before they are judged.

        Raises:
            ContradictionError: One does not. Its answers since the last look are left out.
        """
        try:
            asked = self._recheck.asked(targets, self._run)
            if asked:
                with self.holding(asked) as ready:
                    self._recheck.check(ready, self._run)
        except ContradictionError:
            self._early.clear()
            raise

    @contextmanager
    def holding(self, targets: Sequence[ReadyTarget]) -> Iterator[Sequence[ReadyTarget]]:
        """Holds the right to ask targets' servers; alone where they mix models up."""
        ready = targets
        while True:
            if found_to_mix(ready):
                ready = [self._targets.put_apart(one) for one in ready]
            with held(ready, self._tell_waiting):
                # Another run may have found out while this one waited.
                if not found_to_mix(ready):
                    yield ready
                    return

    def _answer(
        self,
        wanted: QuestionBatch,
        targets: Sequence[ReadyTarget],
        answers: StoredAnswers,
        ahead: Iterable[QuestionBatch],
        progress: Progress | None,
    ) -> dict[str, dict[str, ShardResult]]:
        """The results of `wanted` and of what was asked along with it, by claim."""
        with ExitStack() as claims:
            wait_for_claims(
                claims,
                self._store,
                wanted,
                targets,
                waiting=lambda: self._tell_waiting(wanted.name),
            )
            batches = [answers.pending(wanted, claim_of(wanted, targets), targets, progress)]
            room = self._room(targets) if batches[0].lacking else 0
            for batch in ahead:
                if sum(one.lacking for one in batches) >= room:
                    break
                claim = claim_of(batch, targets)
                # A batch that another process has claimed is left to it.
                if (self.look, claim) not in self._early and take_free_claims(
                    claims, self._store, batch, targets
                ):
                    batches.append(answers.pending(batch, claim, targets, progress))
            started = time.monotonic()
            self._ask(batches, targets, answers, progress)
            lacking = sum(one.lacking for one in batches)
            each = (time.monotonic() - started) / max(lacking, 1)
        return {one.claim: answers.results(one, targets, each) for one in batches}

    def _ask(
        self,
        batches: Sequence[PendingBatch],
        targets: Sequence[ReadyTarget],
        answers: StoredAnswers,
        progress: Progress | None,
    ) -> None:
        asked = [one for one in targets if any(batch.missing[one.id] for batch in batches)]
        if not asked:
            return
        for one in asked:
            self._check_server(one)
        with self.holding(asked) as ready:
            self._recheck.begin(ready)
            pace = ask_missing(
                batches,
                ready,
                answers,
                mmlu_task=self.mmlu_task,
                temperature=self.settings.temperature,
                logs=self._logs,
                unreachable=self.unreachable,
                check_server=self._check_server,
                progress=progress,
            )
            if pace is not None:
                self._pace |= {one.endpoint.base_url: pace for one in ready}
            self._recheck.look(ready, self._run)

    def _room(self, targets: Sequence[ReadyTarget]) -> float:
        """How many questions the targets' server answers in the time of an evaluation."""
        pace = min(self._pace.get(one.endpoint.base_url, 0.0) for one in targets)
        return _AHEAD / self._share * pace

    def _check_server(self, target: ReadyTarget) -> None:
        """Saves each batch the wait for a server that has ended.

        Raises:
            ServerEndedError: The target's server has ended.
        """
        if self._post_mortem(target.id):
            raise ServerEndedError(
                "its server has ended, so it was not asked",
                target=target.id,
                remedy="start the run again; only what has no answer is asked",
            )

    def _tell_waiting(self, what: str) -> None:
        self._say(f"{what}: waiting for another process that asks at this moment")
