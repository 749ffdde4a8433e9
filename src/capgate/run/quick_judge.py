"""A quick run of one target: a growing random sample, until the verdict is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from capgate.asking.ages import dated
from capgate.asking.ready_target import QuestionBatch
from capgate.common.errors import ServerEndedError
from capgate.gate.decide_live import SequentialGate
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


@dataclass(frozen=True)
class QuickJudge:
    """Judges one target on a random sample over all subjects.

    Attributes:
        plan: The target's plan.
        asker: Has its questions answered.
        record: What the run keeps.
        losses: Which targets were lost in the middle of the run.
        say: Shows a line of progress.
    """

    plan: TargetPlan
    asker: Asker
    record: RunRecord
    losses: Losses
    say: Callable[[str], None]

    def judge(self) -> Judgement:
        """Asks in random order over all subjects until the verdict is in."""
        plan = self.plan
        order = seeded_order(plan.pool, seed=plan.seed)
        gate = self._gate(len(order))
        # Where nothing can end it, a quick run is a short look.
        limit = min(plan.limit or (QUICK_LOOK if gate is None else len(order)), len(order))
        size = min(max(plan.connections, _BATCH[0]), _BATCH[1])
        batches: list[Results] = []
        path: list[dict[str, Any]] = []
        verdict: Verdict | None = None
        for start in range(0, limit, size):
            batch = QuestionBatch(
                f"quick_{start // size + 1:03d}",
                [plan.pool[question] for question in order[start : min(start + size, limit)]],
            )
            verdict = self._ask(batch, batches)
            if verdict is not None or not_put(batches[-1:]):
                break
            if gate is None:
                continue
            latest = answers_of(batches[-1:])
            verdict = gate.update(rows(plan.reference, latest, plan.target))
            path.append(asdict(gate.progress))
            self.say(f"{plan.label}  quick  {gate.progress}")
            if verdict is not None:
                break
        if verdict is None:
            verdict = self._at_the_end(gate, batches, limit)
        verdict = bounded(verdict, batches)
        if verdict is None or verdict.kind != "ERROR":
            self.asker.finish()
        if verdict is not None and verdict.kind != "ERROR":
            self._check_still_live(batches)
        verdict = self.record.count(plan, "quick", dated(verdict, batches))
        usage = Usage.of([results[plan.target] for results in batches])
        shard = Shard("quick", self.record.benchmark)
        return self.record.keep(Judgement(plan.target, shard, verdict, usage, tuple(path)))

    def _gate(self, population: int) -> SequentialGate | None:
        plan = self.plan
        return sequential_gate(
            plan.reference,
            plan.policy,
            population=population,
            seed=plan.seed,
            budget=plan.quick_budget(),
        )

    def _ask(self, batch: QuestionBatch, batches: list[Results]) -> Verdict | None:
        """Has a batch answered and adds its results; returns an ERROR where that can't be done."""
        target = self.plan.target
        try:
            if fault := self.losses.fault(target):
                raise ServerEndedError(fault)
            results = self.asker.answer(batch)
            batches.append(results)
            self.asker.check_reachable(results)
        except ServerEndedError as error:
            self.losses.note(target, str(error))
            return Verdict.of_error(error, scope="quick")
        self.plan.check_routes(results[target].answers, whole=False)
        dead = no_answer(batches, latest=results)
        if dead is None:
            return None
        return Verdict.of_error(self.asker.with_cause(dead), scope="quick")

    def _at_the_end(
        self, gate: SequentialGate | None, batches: list[Results], limit: int
    ) -> Verdict | None:
        """The verdict where the evidence did not end the run."""
        plan = self.plan
        if gate is None:
            return not_measured(answers_of(batches)[plan.target], plan.policy, "quick")
        return gate.finish(
            "--max-cost was reached"
            if not_put(batches)
            else f"the limit of {limit:,} questions was reached"
        )

    def _check_still_live(self, batches: list[Results]) -> None:
        reference = self.plan.reference
        if reference.kind == "base" and all_alike(
            answers_of(batches), reference.target, self.plan.target
        ):
            self.asker.check_live()
