"""How a judge has questions answered: the way from a target's plan to its servers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from capgate.asking.ask_again import ask_again
from capgate.asking.evaluator import Evaluator
from capgate.asking.probe import ask_probe, field_note
from capgate.asking.ready_target import Foreseen, Progress, QuestionBatch, ReadyTarget
from capgate.asking.recheck import Rechecked
from capgate.benchmarks.questions import Question
from capgate.client.faults import FINAL_KINDS
from capgate.common.answers import Answer
from capgate.common.errors import ServerEndedError
from capgate.run.answered import Results
from capgate.serving.adapters.liveness import check_live
from capgate.serving.sharing import asking


@dataclass(frozen=True)
class Probe:
    """What one easy question found out about a target.

    Attributes:
        target: The target's id.
        answer: Its answer.
        begins_in_thought: Whether its prompts begin a thought.
        note: A sentence for the reports; `""` for none.
    """

    target: str
    answer: Answer
    begins_in_thought: bool = False
    note: str = ""


class Asker(Protocol):
    """Puts questions to a target and, where that is its reference, to its base."""

    def answer(
        self,
        batch: QuestionBatch,
        *,
        ahead: Iterable[QuestionBatch] = (),
        others: Iterable[Foreseen] = (),
        progress: Progress | None = None,
    ) -> Results:
        """Has a batch answered; asks only what the store lacks.

        Args:
            batch: The questions.
            ahead: What will be asked next; its server begins with it where it has room.
            others: What other targets will be asked next; their servers do likewise.
            progress: Told of each answer.

        Raises:
            ServerEndedError: A server that it needs has ended.
        """

    def foreseen(self, batch: QuestionBatch) -> Foreseen:
        """A batch that will be answered soon, for the `others` of another asker."""

    def answer_again(self, batch: QuestionBatch) -> Results:
        """Has a batch answered a second time, to confirm that it lost."""

    def check_reachable(self, results: Results) -> None:
        """Makes sure that no answer is missing because a server stopped answering.

        Raises:
            ServerEndedError: One is.
        """

    def begin_finish(self) -> None:
        """Begins what `finish` does, while other targets are asked."""

    @property
    def finishing(self) -> bool:
        """Whether what `begin_finish` has begun goes on."""

    def finish(self) -> None:
        """Makes sure that the servers still answer as they did when the run began.

        Raises:
            ContradictionError: One does not; what it answered since the last look is left out.
        """

    def check_live(self) -> None:
        """Makes sure that an adapter is not simply its base.

        Raises:
            AdapterError: The adapter changes nothing.
        """

    def probe(self) -> Iterator[Probe]:
        """Asks the base and the target one easy question each; a base once for its adapters.

        Raises:
            CapgateError: One can't be judged.
        """

    def note_thoughts(self, targets: Collection[str]) -> None:
        """Notes targets of which another process found that their prompts begin a thought."""

    def with_cause(self, fault: str) -> str:
        """A fault, and why the target's server has ended where it has."""


class RunAsker:
    """The asker of a run.

    Args:
        target: The target's id.
        ready_targets: The base, where it is the reference, and the target.
        evaluator: Asks questions for this process.
        post_mortem: Tells why a target's server has ended, `""` if it has not.
    """

    def __init__(
        self,
        target: str,
        ready_targets: Sequence[ReadyTarget],
        evaluator: Evaluator,
        *,
        post_mortem: Callable[[str], str],
    ) -> None:
        self._target = target
        self._ready_targets = ready_targets
        self._evaluator = evaluator
        self._post_mortem = post_mortem
        self._finishing: Future[Rechecked] | None = None

    def answer(
        self,
        batch: QuestionBatch,
        *,
        ahead: Iterable[QuestionBatch] = (),
        others: Iterable[Foreseen] = (),
        progress: Progress | None = None,
    ) -> Results:
        """Has a batch answered; see `Asker`."""
        try:
            return self._evaluator.answer(
                batch.questions,
                self._ready_targets,
                shard=batch.name,
                ahead=ahead,
                others=others,
                progress=progress,
            )
        except ServerEndedError as error:
            raise ServerEndedError(self.with_cause(str(error))) from None

    def foreseen(self, batch: QuestionBatch) -> Foreseen:
        """A batch that will be answered soon; see `Asker`."""
        return Foreseen(batch, self._ready_targets)

    def answer_again(self, batch: QuestionBatch) -> Results:
        """Has a batch answered a second time; see `Asker`."""
        questions: Sequence[Question] = batch.questions
        return ask_again(
            self._evaluator, questions, self._ready_targets, look="confirm", name=batch.name
        )

    def check_reachable(self, results: Results) -> None:
        """Makes sure that no answer is missing for a server that is gone; see `Asker`."""
        for name, result in results.items():
            lacking = sum(not answer.state.scored for answer in result.answers) - result.not_put
            fault = self._evaluator.unreachable.fault(name)
            # A server that refuses some questions and answers others is there.
            answers = any(answer.state.scored for answer in result.answers)
            if fault is not None and fault.kind in FINAL_KINDS and answers:
                continue
            if lacking and fault is not None:
                raise ServerEndedError(self.with_cause(str(fault)))

    def begin_finish(self) -> None:
        """Begins what `finish` does; see `Asker`."""
        self._finishing = self._evaluator.begin_finish(self._ready_targets)

    @property
    def finishing(self) -> bool:
        """Whether that goes on; see `Asker`."""
        return self._finishing is not None and not self._finishing.done()

    def finish(self) -> None:
        """Makes sure that the servers answer as before; see `Asker`."""
        begun, self._finishing = self._finishing, None
        self._evaluator.finish(self._ready_targets, begun)

    def check_live(self) -> None:
        """Makes sure that an adapter is not simply its base; see `Asker`."""
        base, adapter = self._ready_targets
        tuned = {one.base_url: one for one in adapter.live}
        for one in base.live:
            if one.base_url not in tuned:
                continue
            observation = one.observation
            with asking(one.base_url, alone=one.engine == "vllm"):
                check_live(
                    one,
                    tuned[one.base_url],
                    seen=None if observation is None else observation.signature,
                )

    def probe(self) -> Iterator[Probe]:
        """Asks each one easy question; see `Asker`."""
        for one in self._ready_targets:
            answer = self._evaluator.probed.get(one.id)
            if answer is None or one.id == self._target:
                with self._evaluator.holding([one]):
                    answer = ask_probe(one, self._evaluator)
                self._evaluator.probed[one.id] = answer
            yield Probe(one.id, answer, one.client.begins_in_thought, field_note(one))

    def note_thoughts(self, targets: Collection[str]) -> None:
        """Notes whose prompts begin a thought; see `Asker`."""
        for one in self._ready_targets:
            if one.id in targets:
                one.client.begins_in_thought = True

    def with_cause(self, fault: str) -> str:
        """A fault, and why the server has ended where it has; see `Asker`."""
        return "\n".join(filter(None, [fault, self._post_mortem(self._target)]))
