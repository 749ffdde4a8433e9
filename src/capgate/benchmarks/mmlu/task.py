"""The benchmark's tasks: inspect_evals' solver and scorer over one shard of questions."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from capgate.benchmarks.benchmark import Reading, SolverStep, Steps
from capgate.benchmarks.mmlu.kept_questions import kept_questions
from capgate.benchmarks.mmlu.load import load_questions, may_be_away
from capgate.benchmarks.mmlu.reading import mmlu_scorer_hash, reading_of
from capgate.benchmarks.mmlu.record import mmlu_question
from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, MMLU, SUBJECTS
from capgate.benchmarks.mmlu.upstream import only_calls_inspects, rendered_probe, upstream_version
from capgate.common.errors import ConfigError

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score
    from inspect_ai.solver import Solver

    from capgate.benchmarks.questions import Question, QuestionSet

TASKS: Final[dict[str, int]] = {"inspect_evals/mmlu_0_shot": 0, "inspect_evals/mmlu_5_shot": 5}
"""Task name to its number of few-shot examples."""

_CONSTRAINTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "llamacpp": {"grammar": 'root ::= "ANSWER: " [A-D]'},
    "vllm": {"structured_outputs": {"regex": "ANSWER: [ABCD]"}},
}
"""Engine to the fields of a request that allow nothing but an answer in form."""

MIN_MAX_TOKENS: Final = 16
"""Upstream's solver raises a smaller limit by itself, so a smaller one is refused here."""


@dataclass(frozen=True)
class MmluTask:
    """One of upstream's tasks with the answer's token limit that a run asks for.

    Attributes:
        task_name: A key of `TASKS`.
        max_tokens: The most tokens of an answer; it reaches the server as it is.
    """

    task_name: str
    max_tokens: int
    name: str = MMLU
    catch: float | None = None
    advisory: bool = False
    letters: str = "ABCD"
    form: str = "ANSWER: and a letter"
    notes: str = ""

    @property
    def shots(self) -> int:
        """Few-shot examples before each question."""
        return TASKS[self.task_name]

    def task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """Builds the Inspect task that asks `questions`.

        Args:
            questions: What to ask, in order.
            shard: Name of this part, such as the subject.
        """
        from inspect_evals.mmlu.mmlu import mmlu_multiple_choice

        solver = mmlu_multiple_choice(max_non_cot_tokens=self.max_tokens)
        return self._task_by(solver, questions, shard)

    def direct_task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """The task by Inspect's `multiple_choice`, where upstream's solver does no more than that.

        Upstream's makes it anew for each sample, which takes a quarter of a question's time.
        """
        from inspect_ai.solver import multiple_choice

        if not only_calls_inspects(self.max_tokens):
            return self.task(questions, shard=shard)
        solver = multiple_choice(cot=False, max_tokens=self.max_tokens)
        return self._task_by(solver, questions, shard)

    def _task_by(self, solver: Solver, questions: Sequence[Question], shard: str) -> Task:
        from inspect_ai import Task
        from inspect_ai.dataset import MemoryDataset
        from inspect_ai.model import GenerateConfig
        from inspect_ai.scorer import choice

        version = upstream_version()
        return Task(
            name=f"{self.task_name.split('/')[-1]}_{shard}",
            dataset=MemoryDataset([question.sample for question in questions], name=shard),
            solver=solver,
            scorer=choice(),
            config=GenerateConfig(temperature=0.0),
            version=version.comparability,
            metadata=dict(version.metadata),
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The 57 subjects."""
        return SUBJECTS

    @property
    def listed_groups(self) -> tuple[str, ...]:
        """The 57 subjects."""
        return SUBJECTS

    @property
    def parents(self) -> Mapping[str, str]:
        """Subject to its domain."""
        return DOMAIN_OF

    def load(self, source: str) -> QuestionSet:
        """Loads the questions; see `Benchmark.load`."""
        return load_questions(source, shots=self.shots, name=self.name)

    def may_be_away(self, source: str) -> bool:
        """Whether they seem not to be on this machine; see `Benchmark.may_be_away`."""
        return may_be_away(source)

    def read(self, scores: Mapping[str, Score], output: ModelOutput) -> Reading:  # noqa: ARG002
        """What the scorer's one score says; see `Benchmark.read`."""
        return reading_of(next(iter(scores.values())))

    @property
    def probe(self) -> Question:
        """An easy question, for the preflight."""
        text, choices = "Which of these numbers is even?", ["3", "5", "8", "9"]
        (probe,) = kept_questions(
            "mmlu-probe",
            json.dumps([text, choices]),
            lambda: [mmlu_question(text, choices, "C", "elementary_mathematics")],
        )
        return probe

    def constraint(self, engine: str) -> Mapping[str, Any] | None:
        """Fields of a request that allow nothing but an answer in form; None where unknown."""
        return _CONSTRAINTS.get(engine)

    def again(self, text: str, choices: Sequence[str], key: str, group: str) -> Sample | None:
        """A stored question as it was asked; None with few-shot examples, which are not stored."""
        return None if self.shots else mmlu_question(text, choices, key, group).sample

    @property
    def steps(self) -> Steps:
        """Upstream's one solver, and Inspect's scorer; see `Benchmark.steps`."""
        passed = {"max_non_cot_tokens": self.max_tokens}
        solver = "inspect_evals/mmlu_multiple_choice"
        return Steps([SolverStep(solver, {"cot": False, **passed}, passed)], [{}])

    @cached_property
    def prompt_hash(self) -> str:
        """Hash of what this task makes of a fixed question: 16 hex digits.

        Together with a question's own hash it determines the whole prompt, so two answers
        are comparable only where both agree.
        """
        rendered = json.dumps([self.task_name, rendered_probe(self.max_tokens)], sort_keys=True)
        return hashlib.sha256(rendered.encode()).hexdigest()[:16]

    @cached_property
    def versions(self) -> dict[str, str]:
        """What decides how an answer is read, and the packages' versions for people.

        See `capgate.benchmarks.mmlu.versions`.
        """
        return {
            "task": f"{self.task_name}@{upstream_version().comparability}",
            "scorer": mmlu_scorer_hash(),
            "inspect_ai": version("inspect-ai"),
            "inspect_evals": version("inspect-evals"),
        }


def mmlu_task(task: str, max_tokens: int) -> MmluTask:
    """Returns the MMLU task of a name.

    Raises:
        ConfigError: The task is unknown, or the token limit is one that it would override.
    """
    if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=1, cutoff=0.3)
        raise ConfigError(
            f"there is no task {task!r}",
            remedy=f"use {near[0] if near else 'one'} (known: {', '.join(TASKS)})",
        )
    if max_tokens < MIN_MAX_TOKENS:
        raise ConfigError(
            f"--max-tokens {max_tokens} is below {MIN_MAX_TOKENS}, to which the task may raise it",
            remedy=f"ask for at least {MIN_MAX_TOKENS}",
        )
    return MmluTask(task, max_tokens)
