"""Whom a run asks, what it asks of them together, and what came back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from capgate.asking.ages import Age
from capgate.asking.cost_limit import TargetCost
from capgate.asking.fingerprint import Fingerprint
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.store.answer_store import Context

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from capgate.asking.inspect_backend.provider import CapgateAPI

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
        model: Inspect's handle on it.
        target_cost: Its way to the run's cost limit, where the cost is bounded.
    """

    id: str
    target: Target
    endpoint: Endpoint
    fingerprint: Fingerprint
    context: Context
    model: Model = field(repr=False)
    target_cost: TargetCost | None = None

    @property
    def api(self) -> CapgateAPI:
        """The way that its requests take."""
        from capgate.asking.inspect_backend.provider import CapgateAPI

        assert isinstance(self.model.api, CapgateAPI)
        return self.model.api


@dataclass(frozen=True)
class ShardResult:
    """How a target did on one shard.

    Attributes:
        answers: One for each question, in the questions' order.
        asked: How many of them this call asked for; the others were found in the store.
        seconds: Wall time of asking.
        log: Inspect's log of what was asked, if anything was.
        fault: The first fault among the errors, as the person should read it.
        not_put: Questions that were not put, since they could have passed `--max-cost`;
            they count as errors here and are not stored.
        age: Of which time the answers are.
    """

    answers: tuple[Answer, ...]
    asked: int
    seconds: float
    log: Path | None
    fault: str = ""
    not_put: int = 0
    age: Age = field(default_factory=Age)


@dataclass(frozen=True)
class QuestionBatch:
    """Questions that are asked, found and judged together.

    Attributes:
        name: Its name, such as the subject.
        questions: The questions.
    """

    name: str
    questions: Sequence[Question]
