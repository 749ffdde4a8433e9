"""The targets that a run asks, the questions that they are asked together, and the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from capgate.asking.ages import Age
from capgate.asking.fingerprint import Fingerprint
from capgate.asking.target_client import TargetClient
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.common.errors import CapgateError
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.store.answer_rows import Context

Progress = Callable[[str, Answer, bool], None]
"""Called with the target's id, each answer, and whether it was asked for just now."""


@dataclass(frozen=True)
class ReadyTarget:
    """A target that takes part in a run, ready to be asked.

    Attributes:
        id: The target's id.
        target: The target.
        endpoint: Where it answers.
        fingerprint: What its answers are known by.
        context: The store's number for it.
        client: The way that its requests take.
    """

    id: str
    target: Target
    endpoint: Endpoint
    fingerprint: Fingerprint
    context: Context
    client: TargetClient = field(repr=False)

    @property
    def live(self) -> tuple[Endpoint, ...]:
        """Its endpoints that are asked now."""
        return self.client.live or self.endpoint.all


@dataclass(frozen=True)
class ShardResult:
    """How a target did on one shard.

    Attributes:
        answers: One for each question, in the questions' order.
        asked: How many of them this call asked for; the others were found in the store.
        seconds: Wall time of asking.
        fault: The first fault among the errors, in a person's words; `""` without one.
        cause: The first fault of this call's requests itself; None where another process or an
            earlier call asked.
        not_put: Questions that were not asked, since they could have passed `--max-cost`;
            they count as errors here and are not stored.
        age: How old the answers are.
    """

    answers: tuple[Answer, ...]
    asked: int
    seconds: float
    fault: str = ""
    cause: CapgateError | None = None
    not_put: int = 0
    age: Age = field(default_factory=Age)

    @property
    def asked_in_run(self) -> int:
        """How many answers this run asked for, in any of its processes; errors are left out."""
        return sum(answer.state.scored for answer in self.answers) - self.age.earlier


@dataclass(frozen=True)
class QuestionBatch:
    """Questions that are asked, found and judged together.

    Attributes:
        name: Its name, such as the subject.
        questions: The questions.
    """

    name: str
    questions: Sequence[Question]


@dataclass(frozen=True)
class Foreseen:
    """A batch that will be asked soon.

    Attributes:
        batch: The batch.
        targets: Whom it will be asked of.
    """

    batch: QuestionBatch
    targets: Sequence[ReadyTarget]
