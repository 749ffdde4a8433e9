"""The answers that count for one look of one run: found in the store, kept there, given out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from capgate.asking.ages import Age
from capgate.asking.batches import PendingBatch
from capgate.asking.ready_target import Progress, QuestionBatch, ReadyTarget, ShardResult
from capgate.common.answers import Answer, AnswerState
from capgate.serving.adapters.liveness import contradiction
from capgate.store.answer_store import Store, Stored
from capgate.store.shard import Look


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """What the store holds for one look of one run.

    Attributes:
        store: The store.
        run: The run's id.
        look: Why the run asks.
        fresh: Whether answers of earlier runs do not count.
    """

    store: Store
    run: str
    look: Look
    fresh: bool

    def pending(
        self,
        batch: QuestionBatch,
        claim: str,
        targets: Sequence[ReadyTarget],
        progress: Progress | None,
    ) -> PendingBatch:
        """What of a batch is to be asked; the answers that are found count from now on."""
        self.store.keep_questions(batch.questions)
        pending = PendingBatch(batch, claim)
        for target in targets:
            found = self._find(target, batch)
            self.store.reuse(
                (stored.id for stored in found.values()),
                run=self.run,
                target=target.id,
                look=self.look,
            )
            pending.missing[target.id] = [q for q in batch.questions if q.hash not in found]
            pending.not_asked[target.id] = {}
            if progress is not None:
                for stored in found.values():
                    progress(target.id, stored.answer, False)
        return pending

    def keep(self, target: ReadyTarget, answer: Answer) -> None:
        """Keeps an answer that has come."""
        self.store.add(target.context, answer, run=self.run, target=target.id, look=self.look)

    def results(
        self, pending: PendingBatch, targets: Sequence[ReadyTarget], seconds_each: float
    ) -> dict[str, ShardResult]:
        """How targets did on a batch that was asked.

        Args:
            pending: The batch.
            targets: The targets.
            seconds_each: Wall time for each question that was asked.

        Raises:
            ContradictionError: Another process found that a target does not answer as it did,
                and left out what it had answered.
        """
        results: dict[str, ShardResult] = {}
        for target in targets:
            found = self._find(target, pending.batch)
            not_asked = pending.not_asked[target.id]
            hashes = [question.hash for question in pending.batch.questions]
            if not set(hashes) <= found.keys() | not_asked.keys():
                raise contradiction(target.endpoint, "another process of this run found that")
            answers = tuple(
                not_asked[one] if one in not_asked else found[one].answer for one in hashes
            )
            results[target.id] = ShardResult(
                answers,
                asked=len(pending.missing[target.id]) - len(not_asked),
                seconds=seconds_each * pending.lacking,
                log=pending.logs.get(target.id),
                fault=next((a.text for a in answers if a.state is AnswerState.ERROR), ""),
                cause=pending.faults.get(target.id),
                not_put=len(not_asked),
                age=self._age(found.values(), len(answers)),
            )
        return results

    def _find(self, target: ReadyTarget, batch: QuestionBatch) -> dict[str, Stored]:
        return self.store.find(
            target.context,
            [question.hash for question in batch.questions],
            run=self.run,
            fresh=self.fresh,
            target=target.id,
            look=self.look,
        )

    def _age(self, found: Collection[Stored], answers: int) -> Age:
        earlier = [one.created for one in found if one.run != self.run]
        return Age(answers, len(earlier), max(earlier, default=0.0))
