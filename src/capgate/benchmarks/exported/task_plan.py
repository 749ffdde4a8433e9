"""What a task does with its questions, as a file says it: solvers, scorers and settings.

A task's own function loads its data, which need the hub. With its plan the same task is made of
the questions in a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

from capgate.benchmarks.without_model import sent_by
from capgate.common.errors import DatasetError

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import Scorer
    from inspect_ai.solver import Solver

T = TypeVar("T")

_INSPECT: Final = "inspect_ai"


class Registered(BaseModel):
    """A solver or scorer by its registered name.

    Attributes:
        name: Its name, with its package where that is not Inspect's.
        arguments: What it is made with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    arguments: dict[str, JsonValue] = {}


class TaskPlan(BaseModel):
    """What makes a task beside its questions.

    Attributes:
        solvers: Its solvers, in order.
        scorers: Its scorers, in order.
        config: Its generation settings.
        version: Its version.
        metadata: Its metadata.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    solvers: tuple[Registered, ...]
    scorers: tuple[Registered, ...]
    config: dict[str, JsonValue] = {}
    version: int | str = 0
    metadata: dict[str, JsonValue] | None = None

    def make(self, samples: Sequence[Sample], package: str) -> Task:
        """Makes the task.

        Args:
            samples: What it asks; at least one.
            package: The task's own package, which must be imported, so that its solvers and
                scorers are known. Nothing of other packages but Inspect's own is made.

        Raises:
            DatasetError: A solver or scorer is unknown, or refuses its arguments.
        """
        from inspect_ai import Task
        from inspect_ai.dataset import MemoryDataset
        from inspect_ai.model import GenerateConfig
        from inspect_ai.util import registry_create

        def made(kind: str, one: Registered) -> Any:  # noqa: ANN401 (a solver or a scorer)
            owner, _, _ = one.name.rpartition("/")
            if owner not in {"", _INSPECT, package}:
                raise DatasetError(f"its {kind} {one.name} is neither Inspect's nor the task's")
            try:
                if not owner:
                    # One of the user's may have the same name.
                    with suppress(LookupError):
                        return registry_create(kind, f"{_INSPECT}/{one.name}", **one.arguments)  # type: ignore[call-overload]
                return registry_create(kind, one.name, **one.arguments)  # type: ignore[call-overload]
            except Exception as error:
                raise DatasetError(
                    f"its {kind} {one.name} can't be made", said=f"{type(error).__name__}: {error}"
                ) from error

        solvers: list[Solver] = [made("solver", one) for one in self.solvers]
        scorers: list[Scorer] = [made("scorer", one) for one in self.scorers]
        return Task(
            dataset=MemoryDataset(list(samples)),
            solver=solvers[0] if len(solvers) == 1 else solvers,
            scorer=scorers,
            config=GenerateConfig.model_validate(self.config),
            version=self.version,
            metadata=self.metadata,
        )


def plan_of(
    task: Task, solvers: Sequence[Registered], scorers: Sequence[Registered], package: str
) -> TaskPlan:
    """Makes the plan of a task, and checks that it makes the same task again.

    Args:
        task: The task, with questions to check it by.
        solvers: Its solvers, as a log records them.
        scorers: Its scorers, as a log records them.
        package: The task's own package; see `TaskPlan.make`.

    Raises:
        DatasetError: A file can't hold the plan, or what is made of it sends other prompts.
    """
    plan = TaskPlan(
        solvers=tuple(solvers),
        scorers=tuple(scorers),
        config=task.config.model_dump(mode="json", exclude_none=True),
        version=task.version,
        metadata=task.metadata,
    )
    samples = list(task.dataset)
    again = plan.make(samples, package)
    for sample in samples:
        if sent_by(again.solver, sample) != sent_by(task.solver, sample):
            raise DatasetError(
                f"its solver makes another prompt of question {sample.id} when it is made again "
                "from a file"
            )
    return plan


def spread(questions: Sequence[T], most: int = 50) -> Sequence[T]:
    """Some of the questions, spread over all of them, to check a plan by.

    Args:
        questions: All of them.
        most: How many are taken at most.
    """
    return questions[:: max(1, -(-len(questions) // most))]
