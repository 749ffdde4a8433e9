"""The targets of a run, made ready to be asked: server up, weights known, entered in the store."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping

from capgate.asking.evaluator import Evaluator
from capgate.asking.fingerprint import seed_of
from capgate.asking.ready_target import ReadyTarget
from capgate.asking.weights import other_weights
from capgate.benchmarks.recorded import facts_of
from capgate.common.dependencies import check_imports
from capgate.common.errors import ConfigError
from capgate.common.garbage import collected_rarely
from capgate.config.targets import Target
from capgate.run.judgement import Mode
from capgate.run.run_questions import RunQuestions
from capgate.run.run_record import RunRecord
from capgate.serving.endpoint import Endpoint


class OtherWeightsError(ConfigError):
    """A run that is taken up again would ask other weights than it asked before."""


class ReadyTargets:
    """Makes each target of a run ready, once.

    Args:
        evaluator: Will ask them.
        participants: The targets that take part, by id.
        questions: The run's questions.
        record: What the run keeps.
        endpoint: Finds or starts a target's server.
        mode: Target to what its tests were asked for; None where that is not known.
        made: Told of each target that is ready for the first time.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        participants: Mapping[str, Target],
        questions: RunQuestions,
        record: RunRecord,
        *,
        endpoint: Callable[[str], Endpoint],
        mode: Callable[[str], Mode | None],
        made: Callable[[ReadyTarget], None],
    ) -> None:
        self._evaluator = evaluator
        self._participants = participants
        self._questions = questions
        self._record = record
        self._endpoint = endpoint
        self._mode = mode
        self._made = made
        self._ready: dict[str, ReadyTarget] = {}
        self._loaders: dict[str, threading.Thread] = {}

    def of(self, target: str) -> ReadyTarget:
        """A target, ready to be asked; its server is found or started by the first call.

        Raises:
            CapgateError: It can't be asked.
        """
        if target not in self._ready:
            one = self._make(target)
            self._check_same_weights(one)
            self._enter(one)
            self._ready[target] = one
            self._made(one)
        return self._ready[target]

    @contextlib.contextmanager
    def loading(self, target: str) -> Iterator[None]:
        """Loads Inspect and a target's questions for the length of a block that waits."""
        ahead = self._loader(target)
        try:
            yield
        finally:
            ahead.join()

    def _loader(self, target: str) -> threading.Thread:
        """The thread that loads what a target is asked; the first call starts it."""
        if target not in self._loaders:
            ahead = threading.Thread(target=self._load, args=(target,), daemon=True)
            ahead.start()
            self._loaders[target] = ahead
        return self._loaders[target]

    def _make(self, target: str) -> ReadyTarget:
        # Starting a server takes seconds, importing Inspect as many: both at once.
        ahead = self._loader(target)
        if self._evaluator.benchmark.may_be_away(self._questions.source(target)):
            # A server that takes minutes to start is of no use without questions.
            ahead.join()
            self._questions.of(target)
        stored = self._evaluator.settings.stored
        try:
            endpoint = None if stored else self._endpoint(target)
        finally:
            # After Ctrl-C too: pytest parses sources for its traceback, Inspect's imports parse
            # theirs, and CPython 3.11 fails where two threads parse at the same time.
            ahead.join()
        check_imports()
        one = self._participants[target]
        self._check_room(one)
        if endpoint is None:
            return self._evaluator.stored_target(one)
        return self._evaluator.ready_target(one, endpoint)

    def _check_room(self, one: Target) -> None:
        """Makes sure that a target may answer as long as the benchmark lets it.

        Raises:
            ConfigError: It may not.
        """
        benchmark, ceiling = self._evaluator.benchmark, one.max_output_tokens
        if ceiling is not None and benchmark.max_tokens > ceiling:
            raise ConfigError(
                f"{benchmark.name} asks for answers of up to {benchmark.max_tokens} tokens, which "
                f"is above its max_output_tokens of {ceiling}",
                target=one.id,
                remedy=f"raise max_output_tokens, or set max_tokens of {benchmark.name} in "
                "config/benchmarks.yaml",
            )

    def _load(self, target: str) -> None:
        # What fails here fails again where it is needed, and is told there.
        with contextlib.suppress(Exception), collected_rarely():
            check_imports()
            self._questions.of(target)
            _ = self._evaluator.benchmark.prompt_hash

    def _check_same_weights(self, one: ReadyTarget) -> None:
        """Makes sure that a run that is taken up again asks the weights that it asked before.

        Raises:
            OtherWeightsError: Others answer now.
        """
        before = self._record.entry(one.id)
        if before is None:
            return
        then, now = before["facts"]["identity"], one.fingerprint.facts["identity"]
        if other_weights(then, now):
            raise OtherWeightsError(
                "other weights answer there now than in this run",
                target=one.id,
                remedy="start a new run",
            )

    def _notes(self, one: ReadyTarget) -> list[str]:
        """What people should know of a target and of what it is asked."""
        benchmark = self._evaluator.benchmark
        told = [f"{benchmark.name}: {benchmark.notes}"] if benchmark.notes else []
        return [*one.endpoint.notes, *told]

    def _enter(self, one: ReadyTarget) -> None:
        """Keeps what is known of a target before it is asked."""
        target, notes = self._participants[one.id], self._notes(one)
        questions, selection = self._questions.of(one.id), self._questions.selection(one.id)
        task, settings = self._evaluator.benchmark, self._evaluator.settings
        mode = self._mode(one.id)
        self._record.enter(
            one.id,
            {
                "model_id": target.adapter_of or one.id,
                "adapter_name": target.served_name if target.adapter_of else None,
                **({"mode": mode} if mode else {}),
                "notes": [*notes, *self._record.notes(one.id, besides=notes)],
                "fingerprint": one.fingerprint.hash,
                "seed": seed_of(one.fingerprint, settings.seed),
                "facts": one.fingerprint.facts,
                "dataset": questions.describe(),
                "prompt_hash": task.prompt_hash,
                "selected": {s: len(mine) for s, mine in selection.by_subject.items()},
                **facts_of(task),
            },
        )
