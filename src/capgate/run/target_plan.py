"""A target's plan: all that is settled about judging it before its questions are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from capgate.asking.ready_target import QuestionBatch
from capgate.benchmarks.questions import Question, QuestionSet, Selection
from capgate.common.answers import Answer
from capgate.gate.budget import Budget, benchmark_budget
from capgate.gate.policy import Policy
from capgate.gate.tries import Allowance, Kind
from capgate.gate.two_looks import first_look
from capgate.run.reference import (
    BaselineReference,
    FloorReference,
    NoReference,
    Reference,
    domains_judged,
)
from capgate.serving.routes import check_routes, is_routed, routes_of


@dataclass(frozen=True)
class TargetPlan:
    """What a target is asked, what it is compared with, and by which rules.

    Attributes:
        target: The target's id.
        label: What lines of progress call it: the target and, beside others, the benchmark.
        reference: What it is compared with.
        policy: The policy in force for it.
        benchmarks: How many benchmarks share the error budget, this one among them.
        grouped: Whether the benchmark has groups.
        subjects: All groups of the run; MMLU's are subjects.
        parents: Group to the parent that it belongs to, such as a subject's domain.
        questions: All questions of the benchmark.
        selection: The questions of a whole run.
        seed: Of a quick run's order.
        connections: Requests to it that may be in flight at a time.
        limit: Most questions (`--limit`); None for all.
        confirm: Whether groups that lost are asked a second time.
        allow_routes: Providers that may have answered one side of a comparison alone.
        allowance: What a run of a kind may spend of the error shares; the first call for a kind
            settles it for the whole run.
    """

    target: str
    label: str
    reference: Reference
    policy: Policy
    benchmarks: int
    grouped: bool
    subjects: tuple[str, ...]
    parents: Mapping[str, str]
    questions: QuestionSet
    selection: Selection
    seed: int
    connections: int
    limit: int | None
    confirm: bool
    allow_routes: tuple[str, ...]
    allowance: Callable[[Kind], Allowance]

    @cached_property
    def pool(self) -> Mapping[str, Question]:
        """Content hash to question, for all questions that a quick run may draw."""
        return {question.hash: question for question in self.questions.select(self.subjects)}

    def batches(self, subjects: Sequence[str] | None = None) -> list[QuestionBatch]:
        """The subjects of a whole run that have a question, each with its questions.

        Args:
            subjects: Which of them, in order; all where it is None.
        """
        return batches_of(self.selection, subjects)

    def budget(self) -> Budget:
        """How a whole run's error shares are divided."""
        paired = not isinstance(self.reference, FloorReference)
        parents = domains_judged(self.policy, self.subjects, self.parents, paired=paired)
        budget = benchmark_budget(
            self.policy,
            self.benchmarks,
            paired=paired,
            groups=self.grouped,
            parents=bool(parents),
        )
        if not isinstance(self.reference, NoReference):
            budget = budget.spend(self.allowance("full").share)
        return first_look(budget) if self.confirm else budget

    def quick_budget(self) -> Budget:
        """How a quick run's error shares are divided."""
        paired = not isinstance(self.reference, FloorReference)
        budget = benchmark_budget(self.policy, self.benchmarks, paired=paired, quick=True)
        if isinstance(self.reference, NoReference):
            return budget
        return budget.spend(self.allowance("quick").share)

    def check_routes(self, answers: Sequence[Answer], *, whole: bool) -> None:
        """Makes sure that the same routes answered the target and its recorded baseline.

        Args:
            answers: The target's.
            whole: Whether these are all; routes that did not answer are then missed as well.

        Raises:
            ReferenceMissingError: Others did, and `--allow-routes` does not name them.
        """
        reference = self.reference
        if isinstance(reference, BaselineReference) and is_routed(reference.baseline.identity):
            theirs = reference.baseline.served_by
            check_routes(self.target, routes_of(answers), theirs, self.allow_routes, whole=whole)


def batches_of(selection: Selection, subjects: Sequence[str] | None = None) -> list[QuestionBatch]:
    """The subjects of a selection that have a question, each with its questions.

    Args:
        selection: The questions of a whole run.
        subjects: Which subjects, in order; all where it is None.
    """
    chosen = selection.by_subject
    names = chosen if subjects is None else subjects
    return [QuestionBatch(name, chosen[name]) for name in names if chosen.get(name)]
