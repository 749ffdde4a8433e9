"""The answers that count for one run: found in the store, kept there, given out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from capgate.asking.ages import Age
from capgate.asking.batches import PendingBatch
from capgate.asking.ready_target import ReadyTarget, ShardResult
from capgate.benchmarks.questions import Question
from capgate.common.answers import AnswerState
from capgate.serving.adapters.liveness import contradiction
from capgate.store.answer_rows import NewAnswer, Stored
from capgate.store.answer_store import Store

Found = dict[str, dict[str, Stored]]
"""Target's id to question's hash to the answer that was found."""


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """What the store holds for one benchmark of a run.

    Attributes:
        store: The store.
        run: The run's id.
        benchmark: The benchmark's name.
        alone: Whether nothing is asked: then a fault that ended another run's request counts.
    """

    store: Store
    run: str
    benchmark: str
    alone: bool = False

    def find(self, pending: PendingBatch, *, again: bool = False) -> Found | None:
        """Finds what a batch is not asked for; the answers that are found count from now on.

        Args:
            pending: The batch.
            again: Look also where this was called before, for what another process has asked
                since then.

        Returns:
            What was found; None where it was looked for before.
        """
        # The thread that asks may begin with a batch while the main thread comes to it.
        with pending.finding:
            first = not pending.missing
            if not first and not again:
                return None
            if first:
                self.store.keep_questions(pending.batch.questions, benchmark=self.benchmark)
            all_found: Found = {}
            missing: dict[str, list[Question]] = {}
            for target in pending.targets:
                questions = pending.batch.questions if first else pending.missing[target.id]
                found = self._find(pending, target, questions)
                self.store.reuse(
                    (stored for stored in found.values() if not stored.counts),
                    run=self.run,
                    target=target.id,
                    look=pending.look,
                    benchmark=self.benchmark,
                )
                missing[target.id] = [one for one in questions if one.hash not in found]
                pending.asked.setdefault(target.id, 0)
                pending.not_asked[target.id] = {}
                all_found[target.id] = found
            pending.missing = missing
            return all_found

    def find_kept(self, target: ReadyTarget, questions: Sequence[Question]) -> Collection[str]:
        """The hashes of those of some questions that need not be asked; nothing counts by this."""
        return self.store.find(
            target.context,
            [question.hash for question in questions],
            run=self.run,
            faults=self.alone,
            target=target.id,
            benchmark=self.benchmark,
        ).keys()

    def keep(self, new: Sequence[NewAnswer]) -> None:
        """Keeps answers that have come.

        Raises:
            StoreError: They can't be kept.
        """
        self.store.add_all(new, run=self.run)

    def results(
        self, pending: PendingBatch, all_found: Found | None = None
    ) -> dict[str, ShardResult]:
        """How targets did on a batch that was asked.

        Args:
            pending: The batch.
            all_found: The answers, where all of them have just been found.

        Raises:
            ContradictionError: Another process found that a target does not answer as it did,
                and left out what it had answered.
        """
        hashes = [question.hash for question in pending.batch.questions]
        results: dict[str, ShardResult] = {}
        for target in pending.targets:
            found = (
                self._find(pending, target, pending.batch.questions)
                if all_found is None
                else all_found[target.id]
            )
            not_asked = pending.not_asked[target.id]
            if not set(hashes) <= found.keys() | not_asked.keys():
                raise contradiction(target.endpoint, "another process of this run found that")
            answers = tuple(
                not_asked[one] if one in not_asked else found[one].answer for one in hashes
            )
            results[target.id] = ShardResult(
                answers,
                asked=pending.asked[target.id],
                seconds=pending.seconds,
                fault=next((a.text for a in answers if a.state is AnswerState.ERROR), ""),
                cause=pending.faults.get(target.id),
                not_put=len(not_asked),
                age=self._age(found.values(), len(answers)),
            )
        return results

    def _find(
        self, pending: PendingBatch, target: ReadyTarget, questions: Sequence[Question]
    ) -> dict[str, Stored]:
        found = self.store.find(
            target.context,
            [question.hash for question in questions],
            run=self.run,
            fresh=pending.fresh,
            faults=self.alone,
            target=target.id,
            look=pending.look,
            benchmark=self.benchmark,
        )
        for question in questions:
            one = found.get(question.hash)
            # A question's group is not part of its hash: it may have been another one before.
            if one is not None and one.answer.subject != question.subject:
                answer = replace(one.answer, subject=question.subject)
                found[question.hash] = replace(one, answer=answer)
        return found

    def _age(self, found: Collection[Stored], answers: int) -> Age:
        earlier = [one.created for one in found if one.run != self.run]
        return Age(answers, len(earlier), max(earlier, default=0.0))
