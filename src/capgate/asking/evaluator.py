"""Questions × targets → answers, by way of the store: each is asked once and kept as it comes.

Nothing here judges an answer beyond what the benchmark's scorer says of it.

| part | job |
|---|---|
| `make_target` | makes a target ready to be asked |
| `stream` | has batches asked in order, in a thread of its own |
| `claims` | the right to ask a batch, which one process has at a time |
| `stored_answers` | finds what is answered, keeps what comes, gives out results |
| `ask_batches` | puts the rest to a runner |
"""

from __future__ import annotations

import copy
import gc
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Self

from capgate.asking.ask_batches import BatchAsker
from capgate.asking.batches import PendingBatch
from capgate.asking.claims import claim_of
from capgate.asking.cost_limit import CostLimit
from capgate.asking.inspect_calls import runner_of
from capgate.asking.make_target import TargetMaker
from capgate.asking.outcome import Outcome, QuestionTask
from capgate.asking.ready_target import (
    Foreseen,
    Progress,
    QuestionBatch,
    ReadyTarget,
    ShardResult,
)
from capgate.asking.recheck import Asking, Recheck, Rechecked, found_to_mix, held
from capgate.asking.shared import SharedAsking
from capgate.asking.stored_answers import StoredAnswers
from capgate.asking.stream import Owner, Stream
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.common.errors import ServerEndedError
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.lost import UnreachableTargets
from capgate.store.answer_store import Store
from capgate.store.shard import Look


class Evaluator:
    """Asks questions for one process of a run.

    Args:
        store: Where answers are found and kept.
        settings: The run's settings.
        benchmark: What is asked.
        run: The run's id.
        logs: Folder for Inspect's logs.
        share: Into how many processes a target's connections are divided.
        cost_limit: What the run may spend, where it is bounded.
        post_mortem: Tells why a target's server has ended, `""` if it has not.
        say: Shows a line of progress.
        tell: Shows a line once in the run: takes its topic and the line.
        shared: What the evaluators of this process share; its owner closes it. One of this
            evaluator's own where None.

    Attributes:
        settings: The run's settings.
        benchmark: What is asked.
        unreachable: Which targets could not be reached by the latest requests.
        probed: Target's id to its answer to the easy question of the preflight.
        look: Why it asks.
    """

    look: Look = "first"

    def __init__(
        self,
        store: Store,
        settings: Settings,
        benchmark: Benchmark,
        *,
        run: str,
        logs: Path,
        share: int = 1,
        cost_limit: CostLimit | None = None,
        post_mortem: Callable[[str], str] = lambda target: "",  # noqa: ARG005
        say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
        tell: Callable[[str, str], None] = lambda topic, line: None,  # noqa: ARG005
        shared: SharedAsking | None = None,
    ) -> None:
        self.settings = settings
        self.unreachable = UnreachableTargets()
        self.probed: dict[str, Answer] = {}
        self.benchmark = benchmark
        self._run = run
        self._logs = logs
        self._post_mortem = post_mortem
        self._say = say
        self._tell = tell
        self._shared = shared or SharedAsking()
        self._alone = shared is None
        self._loop = self._shared.loop
        self._answers = StoredAnswers(store, run, benchmark.name)
        self._stream = Stream(
            self._loop, Owner(lambda: self._asker, self._put_apart, self._tell_waiting)
        )
        self._targets = TargetMaker(
            store,
            settings,
            benchmark,
            run,
            self.ask_one,
            share=share,
            cost_limit=cost_limit,
            tell=tell,
            post=self._stream.post,
            shared=self._shared,
        )
        self._foreseen: dict[tuple[Look, str], PendingBatch] = {}
        self._recheck = Recheck(
            store,
            run,
            self._loop,
            Asking(self.stop, self.holding, self._tell_waiting),
        )

    def ready_target(self, target: Target, endpoint: Endpoint) -> ReadyTarget:
        """Makes a target ready to be asked.

        Raises:
            ConfigError: Its server can't do what the target asks for, or its price is not
                known where the run's cost is bounded.
        """
        return self._targets.make(target, endpoint)

    def stored_target(self, target: Target) -> ReadyTarget:
        """A target as the store knows it, where nothing is asked (`--stored`).

        Raises:
            MissingAnswersError: No run asked it.
        """
        return self._targets.from_store(target)

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
        others: Iterable[Foreseen] = (),
        progress: Progress | None = None,
        fresh: bool = False,
    ) -> dict[str, ShardResult]:
        """Has each target answer each question, asking only what the store lacks.

        Targets are asked side by side. A server that mixes them up (`Endpoint.apart`) is asked
        for one after the other. Where another process is asking some of the questions at this
        moment, this waits for it.

        Args:
            questions: What to ask.
            targets: The targets to ask.
            shard: Name of the questions, for logs and tasks.
            ahead: What the same targets will be asked next. Their servers begin with it where
                they have room. Its results are returned when they are asked for.
            others: What other targets will be asked next, likewise.
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

        def foreseen() -> Iterator[PendingBatch]:
            for batch in ahead:
                yield self._pending(batch, targets, fresh=fresh)
            yield from self._pending_of(others, fresh=fresh)

        def tell() -> None:
            while wanted.news:
                news = wanted.news.popleft()
                if progress is not None:
                    progress(*news)

        wanted = self._pending(QuestionBatch(shard, questions), targets, fresh=fresh)
        found = self._answers.find(wanted)
        for target, stored in (found or {}).items():
            wanted.news.extend((target, one.answer, False) for one in stored.values())
        if wanted.lacking:
            self._shared.begin(self._stream, self.stop)
            self._stream.ask(wanted, foreseen(), tell)
            found = None
        tell()
        if not any(wanted.asked.values()):
            wanted.seconds = 0.0
        else:
            self._recheck.on_the_way(targets)
        # A stop in between has forgotten what was foreseen.
        self._foreseen.pop((self.look, wanted.claim), None)
        return self._answers.results(wanted, found)

    def answer_each(
        self,
        batches: Sequence[QuestionBatch],
        targets: Sequence[ReadyTarget],
        progress: Progress | None = None,
    ) -> Iterator[tuple[QuestionBatch, dict[str, ShardResult]]]:
        """Has batches answered one after the other; the servers begin with the next ones.

        Yields:
            Each batch and its results, as `answer` returns them.
        """
        for at, batch in enumerate(batches, start=1):
            results = self.answer(
                batch.questions, targets, shard=batch.name, ahead=batches[at:], progress=progress
            )
            yield batch, results

    def ask_ahead(self, foreseen: Sequence[Foreseen]) -> None:
        """Has servers begin with what targets will be asked next, while this caller does more.

        Only where benchmarks are asked in turns (`SharedAsking`) it goes on while another
        benchmark is asked.

        Args:
            foreseen: It replaces what was foreseen before.
        """
        self._shared.begin(self._stream, self.stop)
        self._stream.foresee(self._pending_of(foreseen))

    def _pending_of(
        self, foreseen: Iterable[Foreseen], *, fresh: bool = False
    ) -> Iterator[PendingBatch]:
        for one in foreseen:
            yield self._pending(one.batch, one.targets, fresh=fresh)

    def ask_one(self, task: QuestionTask) -> dict[str, Outcome]:
        """Asks one model some questions whose answers are not stored.

        Returns:
            Question's hash to its outcome.

        Raises:
            CapgateError: The log can't be written, or the task is at fault.
        """
        outcomes: dict[str, Outcome] = {}

        def note(_: QuestionTask, outcome: Outcome) -> None:
            outcomes[outcome.answer.question] = outcome

        runner = self._asker.runner
        self._loop.run(lambda: runner.ask([task], note))
        return outcomes

    def begin_finish(self, targets: Sequence[ReadyTarget]) -> Future[Rechecked] | None:
        """Begins what `finish` does, and returns what that takes; see `Recheck.begin_last`."""
        return self._recheck.begin_last(targets)

    def finish(
        self, targets: Sequence[ReadyTarget], begun: Future[Rechecked] | None = None
    ) -> None:
        """Makes sure that targets still answer as they did, before they are judged.

        Args:
            targets: The targets.
            begun: What `begin_finish` returned.

        Raises:
            ContradictionError: One does not. Its answers since the last look are left out.
        """
        self._recheck.last(targets, begun)

    @contextmanager
    def holding(self, targets: Sequence[ReadyTarget]) -> Iterator[Sequence[ReadyTarget]]:
        """Holds the right to ask targets' servers; alone where they mix models up."""
        ready = targets
        while True:
            if found_to_mix(ready):
                self.stop()
                ready = [self._put_apart(one) for one in ready]
            with held(ready, self._tell_waiting):
                # Another run may have found out while this one waited.
                if not found_to_mix(ready):
                    yield ready
                    return

    def stop(self) -> None:
        """Asks no more of what nobody waits for; requests in flight are cancelled."""
        self._stream.stop()
        self._foreseen.clear()

    def close(self) -> None:
        """Ends the asking, and the thread that does it where that is no other evaluator's."""
        self.stop()
        if self._alone:
            self._shared.close()

    @cached_property
    def _asker(self) -> BatchAsker:
        settings = self.settings
        runner = runner_of(
            settings.runner,
            self.benchmark,
            self._logs,
            temperature=settings.temperature,
            log_format=settings.inspect_logs,
            tell=self._tell_of_runner,
        )
        # What was imported until now is walked by no later collection. A collection before it
        # would take longer than all later ones, and free next to nothing.
        gc.freeze()
        return BatchAsker(runner, self._answers, self.unreachable, self._check_server)

    def _pending(
        self,
        batch: QuestionBatch,
        targets: Sequence[ReadyTarget],
        *,
        fresh: bool,
    ) -> PendingBatch:
        """The batch, which may have been foreseen."""
        claim = claim_of(batch, targets)
        return self._foreseen.setdefault(
            (self.look, claim),
            PendingBatch(
                batch,
                targets,
                claim,
                self.look,
                fresh=fresh or self.settings.fresh,
            ),
        )

    def _put_apart(self, target: ReadyTarget) -> ReadyTarget:
        return self._targets.put_apart(target)

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

    def _tell_of_runner(self, line: str) -> None:
        topic = f"runner of {self.benchmark.name}"
        self._stream.post(lambda: self._tell(topic, line))

    def _tell_waiting(self, what: str) -> None:
        line = f"{what}: waiting for another process that asks at this moment"
        if threading.current_thread() is threading.main_thread():
            self._say(line)
        else:
            self._stream.post(lambda: self._say(line))
