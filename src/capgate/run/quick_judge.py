"""A quick run of one target: a growing random sample, until the verdict is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, Final

from capgate.asking.ages import dated
from capgate.asking.ready_target import Foreseen, QuestionBatch
from capgate.common.errors import ServerEndedError
from capgate.gate.rows import seeded_order
from capgate.gate.verdict import Verdict
from capgate.run.answered import (
    Results,
    all_alike,
    answers_of,
    bounded,
    no_answer,
    not_measured,
    not_put,
)
from capgate.run.asker import Asker
from capgate.run.judgement import QUICK_LOOK, Judgement, Usage
from capgate.run.reference import rows, sequential_gate
from capgate.run.run_record import RunRecord
from capgate.run.target_plan import TargetPlan
from capgate.serving.lost import Losses
from capgate.store.shard import Shard

_BATCH: Final = (16, 128)
"""Fewest and most questions that are asked between two looks at the evidence."""


class QuickRun:
    """A quick run of one target: batches are asked until the evidence or a limit ends it.

    Args:
        plan: The target's plan.
        asker: Has its questions answered.
        record: What the run keeps.
        losses: Which targets were lost in the middle of the run.
        say: Shows a line of progress.
    """

    def __init__(
        self,
        plan: TargetPlan,
        asker: Asker,
        record: RunRecord,
        *,
        losses: Losses,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._asker = asker
        self._record = record
        self._losses = losses
        self._say = say
        self._order = seeded_order(plan.pool, seed=plan.seed)
        n = len(self._order)
        self._gate = sequential_gate(
            plan.reference,
            plan.policy,
            population=n,
            seed=plan.seed,
            budget=plan.quick_budget(),
        )
        # Where nothing can end it, a quick run is a short look.
        self._limit = min(plan.limit or (QUICK_LOOK if self._gate is None else n), n)
        self._size = min(max(plan.connections, _BATCH[0]), _BATCH[1])
        self._put = 0
        self._asked_all = False
        self._verdict: Verdict | None = None
        self._batches: list[Results] = []
        self._path: list[dict[str, Any]] = []

    @property
    def foreseen(self) -> Foreseen | None:
        """What the next `step` asks; None where it asks nothing."""
        batch = self._batch_from(self._limit if self._asked_all else self._put)
        return self._asker.foreseen(batch) if batch.questions else None

    @property
    def waits(self) -> bool:
        """Whether the next `step` would wait for a look at the servers."""
        return self._asked_all and self._asker.finishing

    def to_its_end(self) -> Judgement:
        """Asks batch after batch until the verdict is in.

        Raises:
            CapgateError: The target can't be judged.
        """
        while (judgement := self.step()) is None:
            pass
        return judgement

    def step(self, others: Iterable[Foreseen] = ()) -> Judgement | None:
        """Asks the next batch, or ends the run where its verdict is in; then it is returned.

        Args:
            others: What other targets will be asked next; servers begin with it where they have
                room.

        Raises:
            CapgateError: The target can't be judged.
        """
        if self._asked_all:
            return self._end()
        if self._put < self._limit:
            batch = self._batch_from(self._put)
            self._put += len(batch.questions)
            self._verdict = self._ask(batch, others)
            if self._verdict is None and not not_put(self._batches[-1:]):
                self._verdict = self._look()
                if self._verdict is None and self._put < self._limit:
                    return None
        verdict = self._verdict or self._at_the_limit()
        self._verdict, self._asked_all = bounded(verdict, self._batches), True
        if self._is_no_error:
            self._asker.begin_finish()
        return None

    @property
    def _is_no_error(self) -> bool:
        return self._verdict is None or self._verdict.kind != "ERROR"

    def _batch_from(self, start: int) -> QuestionBatch:
        end, pool = min(start + self._size, self._limit), self._plan.pool
        questions = [pool[question] for question in self._order[start:end]]
        return QuestionBatch(f"quick_{start // self._size + 1:03d}", questions)

    def _look(self) -> Verdict | None:
        """Shows the gate the last batch; returns the verdict, once it is in."""
        if self._gate is None:
            return None
        plan, latest = self._plan, answers_of(self._batches[-1:])
        verdict = self._gate.update(rows(plan.reference, latest, plan.target))
        progress = self._gate.progress
        self._path.append(asdict(progress))
        self._say(f"{plan.label}  quick  {progress}")
        return verdict

    def _end(self) -> Judgement:
        plan, batches, verdict = self._plan, self._batches, self._verdict
        if self._is_no_error:
            self._asker.finish()
        if verdict is not None and self._is_no_error:
            self._check_still_live()
        verdict = self._record.count(plan, "quick", dated(verdict, batches))
        usage = Usage.of([results[plan.target] for results in batches])
        shard = Shard("quick", self._record.benchmark)
        return self._record.keep(Judgement(plan.target, shard, verdict, usage, tuple(self._path)))

    def _ask(self, batch: QuestionBatch, others: Iterable[Foreseen]) -> Verdict | None:
        """Has a batch answered and adds its results; returns an ERROR where that can't be done."""
        target, batches = self._plan.target, self._batches
        try:
            if fault := self._losses.fault(target):
                raise ServerEndedError(fault)
            results = self._asker.answer(batch, others=others)
            batches.append(results)
            self._asker.check_reachable(results)
        except ServerEndedError as error:
            self._losses.note(target, str(error))
            return Verdict.of_error(error, scope="quick")
        self._plan.check_routes(results[target].answers, whole=False)
        dead = no_answer(batches, latest=results)
        if dead is None:
            return None
        return Verdict.of_error(self._asker.with_cause(dead), scope="quick")

    def _at_the_limit(self) -> Verdict | None:
        """The verdict where the evidence did not end the run."""
        plan = self._plan
        if self._gate is None:
            return not_measured(answers_of(self._batches)[plan.target], plan.policy, "quick")
        return self._gate.finish(
            "--max-cost was reached"
            if not_put(self._batches)
            else f"the limit of {self._limit:,} questions was reached"
        )

    def _check_still_live(self) -> None:
        reference = self._plan.reference
        if reference.kind == "base" and all_alike(
            answers_of(self._batches), reference.target, self._plan.target
        ):
            self._asker.check_live()
