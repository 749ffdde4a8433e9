"""A worker: asks its part of the questions, and judges nothing.

What it asks is fixed (`run.slices`). Answers that the store has are not asked again, so a worker
that takes the place of one that was killed asks only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from capgate.asking.progress import Count
from capgate.common.answers import AnswerState
from capgate.common.errors import AdapterError, CapgateError
from capgate.config.worker_shard import WorkerShard
from capgate.run.asker import RunAsker
from capgate.run.runs import Runs
from capgate.run.slices import Slice, SlicePlan, plan_slices
from capgate.store.shard import Shard

_NONCE = "adapter_nonce"


@dataclass(frozen=True, slots=True)
class WorkedSlice:
    """What a worker did with one target on one benchmark.

    Attributes:
        target: The target's id.
        benchmark: The benchmark.
        questions: The questions of its part.
        asked: How many of them it asked; the others were in the store.
        errors: How many have no answer, since their request failed.
        cause: The first such fault; `""` without one.
        fault: Why it could not go on; `""` if it came to the end.
    """

    target: str
    benchmark: str
    questions: int
    asked: int
    errors: int
    cause: str = ""
    fault: str = ""

    @property
    def complete(self) -> bool:
        """Whether each question has an answer."""
        return not self.errors and not self.fault


class Worker:
    """Asks one part of a run's questions.

    Args:
        runs: The run's part for each benchmark.
        shard: Which part.
        release: Unloads an adapter that is asked no more.
        say: Shows a line.
    """

    def __init__(
        self,
        runs: Runs,
        shard: WorkerShard,
        *,
        release: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._runs = runs
        self._shard = shard
        self._release = release
        self._say = say

    def work(self) -> tuple[SlicePlan, list[WorkedSlice]]:
        """Asks the part, target by target; one that can't be asked leaves the others asked.

        Raises:
            CapgateError: The questions can't be loaded, or it is not known what is asked.
        """
        plan = plan_slices(self._runs, self._shard)
        self._say(
            f"part {self._shard} ({self._shard.source}): {plan.questions:,} of {plan.total:,} "
            f"questions, plan {plan.id}"
        )
        self._tell_other_plans(plan)
        worked = []
        for at, one in enumerate(plan.slices):
            worked.append(self._ask(one, plan))
            after = plan.slices[at + 1 :]
            if one.run.participants[one.target].adapter_of and all(
                other.target != one.target for other in after
            ):
                self._release(one.target)
        return plan, worked

    def _ask(self, one: Slice, plan: SlicePlan) -> WorkedSlice:
        run, target = one.run, one.target
        asked = errors = 0
        fault = cause = ""
        self._keep(one, plan, live=False)
        try:
            ready = run.ready_target(target)
            if _NONCE in ready.endpoint.identity and self._shard.count > 1:
                raise _unreadable(target)
            asker = RunAsker(target, [ready], run.evaluator, post_mortem=run.post_mortem)
            count = Count(run.named(target), len(one.questions), "answers", run.say)
            batches = one.batches
            for at, batch in enumerate(batches, start=1):
                results = asker.answer(batch, ahead=batches[at:], progress=count.answer)
                asked += results[target].asked
                errors += sum(
                    answer.state is AnswerState.ERROR for answer in results[target].answers
                )
                cause = cause or results[target].fault
                asker.check_reachable(results)
            asker.finish()
            self._keep(one, plan, live=True)
        except CapgateError as error:
            fault = str(error)
            self._say(f"ERROR: {fault}")
        return WorkedSlice(target, run.name, len(one.questions), asked, errors, cause, fault)

    def _keep(self, one: Slice, plan: SlicePlan, *, live: bool) -> None:
        """Keeps what the worker asks of a target.

        Args:
            one: What it asks.
            plan: The plan that this is a part of.
            live: Whether the target answered as itself up to the end: an adapter was proven to
                change what its base says, and still does.
        """
        facts = {
            "part": self._shard.index,
            "of": self._shard.count,
            "plan": plan.id,
            "questions": len(one.questions),
            "live": live,
        }
        one.run.store.end_shard(one.run.id, one.target, Shard("worker", one.run.name), facts)

    def _tell_other_plans(self, plan: SlicePlan) -> None:
        """Tells of workers that were given the same options and found other questions."""
        first = self._runs.first
        mine = {**first.settings.describe(), "files": {}}
        for run, _, settings in first.store.runs():
            if run == first.id or {**settings, "files": {}} != mine:
                continue
            for (_, shard), facts in first.store.shards(run).items():
                if shard.kind != "worker" or facts["of"] != self._shard.count:
                    continue
                if facts["plan"] != plan.id:
                    self._say(
                        f"part {facts['part']}/{facts['of']} was asked by another plan, "
                        f"{facts['plan']} (run {run}): its questions or its targets' settings "
                        "differ from these here, so the parts do not make a whole"
                    )
                return


def plain(worked: WorkedSlice) -> dict[str, object]:
    """What a worker did, as plain values."""
    return {**asdict(worked), "complete": worked.complete}


def _unreadable(target: str) -> AdapterError:
    return AdapterError(
        "this machine can't read the adapter that the server has under that name, so the answers "
        "of several workers could not be known to be of one adapter",
        target=target,
        remedy="name the adapter's folder, in a place that this machine can read, or ask it with "
        "one worker: --shard 0/1",
    )
