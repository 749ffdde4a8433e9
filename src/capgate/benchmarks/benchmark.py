"""What a benchmark is to the rest of capgate: questions in groups, an Inspect task, a reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from capgate.benchmarks.questions import Question, QuestionSet
from capgate.common.answers import AnswerState

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score


class Reading(NamedTuple):
    """What was read in an answer.

    Attributes:
        state: How it counts.
        choice: The short answer that was read, such as a letter or a number; `""` for none.
    """

    state: AnswerState
    choice: str


class SolverStep(NamedTuple):
    """One of a task's solvers.

    Attributes:
        name: Its registered name.
        arguments: What it was made with.
        passed: Those of them that are no defaults.
    """

    name: str
    arguments: Mapping[str, Any]
    passed: Mapping[str, Any]


class Steps(NamedTuple):
    """What a task does with a sample, as logs record it.

    Attributes:
        solvers: Its solvers, in order.
        scorers: The arguments that each of its scorers was made with, but for defaults.
    """

    solvers: Sequence[SolverStep]
    scorers: Sequence[Mapping[str, Any]]


class Benchmark(Protocol):
    """A benchmark, as one run asks it.

    A question's `subject` is the group that it belongs to; in a benchmark without groups it is the
    benchmark's own name.
    """

    @property
    def name(self) -> str:
        """Its name in `config/benchmarks.yaml`, such as `mmlu`."""

    @property
    def task_name(self) -> str:
        """Inspect's task, such as `inspect_evals/mmlu_0_shot`, or the file of questions."""

    @property
    def max_tokens(self) -> int:
        """The most tokens of an answer."""

    @property
    def catch(self) -> float | None:
        """The drop that must be caught, as a fraction, where its entry says; else the policy's."""

    @property
    def advisory(self) -> bool:
        """Whether it is reported and never decides."""

    @property
    def parents(self) -> Mapping[str, str]:
        """Group to the parent that it belongs to, such as a subject's domain; may be empty."""

    @property
    def letters(self) -> str:
        """The letters of the choices, such as `ABCD`; `""` where answers are free text."""

    @property
    def form(self) -> str:
        """What an answer must hold to be read, for people: `ANSWER: and a letter`, `a number`."""

    @property
    def shots(self) -> int:
        """Few-shot examples before each question, where that is known; else 0."""

    @property
    def notes(self) -> str:
        """What a person should know before relying on it, as clauses; `""` for nothing.

        Raises:
            CapgateError: Its questions can't be loaded.
        """

    @property
    def prompt_hash(self) -> str:
        """Hash of what the task makes of a fixed question: 16 hex digits.

        Together with a question's own hash it determines the whole prompt, so two answers are
        comparable only where both agree.
        """

    @property
    def versions(self) -> Mapping[str, str]:
        """What decides how an answer is read: `task`, `scorer`, and the packages' versions."""

    @property
    def listed_groups(self) -> Sequence[str]:
        """The groups that have a test of their own: those known without Inspect or the hub.

        Raises:
            CapgateError: Its file can't be read.
        """

    @property
    def groups(self) -> Sequence[str]:
        """Its groups in order; empty where it has none.

        Raises:
            CapgateError: They can be known only from the questions, which can't be loaded.
        """

    @property
    def steps(self) -> Steps | None:
        """Its task's solvers and scorers, as logs record them; None where only Inspect can tell.

        To have Inspect tell them takes a second in each process that writes logs.
        """

    def load(self, source: str) -> QuestionSet:
        """Loads its questions, once per process for each source.

        Args:
            source: `hub`, `bundled` or a folder. A benchmark that is a file of its own ignores it.

        Raises:
            DatasetError: They are missing or damaged; the message tells the remedies.
        """

    def may_be_away(self, source: str) -> bool:
        """Whether its questions seem not to be on this machine; told without loading anything."""

    def task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """Builds the Inspect task that asks `questions`.

        Args:
            questions: What to ask, in order.
            shard: Name of this part, such as the group.
        """

    def direct_task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """Builds what the direct runner asks: `task`, or one that sends the same and reads alike.

        Args:
            questions: What to ask, in order.
            shard: Name of this part, such as the group.
        """

    def read(self, scores: Mapping[str, Score], output: ModelOutput) -> Reading:
        """What a sample's scores say of its answer.

        Args:
            scores: Scorer's name to its score, at least one.
            output: What the model answered.

        Raises:
            CapgateError: A score has a form that this benchmark's entry does not provide for.
        """

    @property
    def probe(self) -> Question:
        """An easy question in the benchmark's form, for the preflight."""

    def constraint(self, engine: str) -> Mapping[str, Any] | None:
        """Fields of a request that allow only answers in form; None where there are none.

        Args:
            engine: What serves the target: `vllm` or `llamacpp`.
        """

    def again(self, text: str, choices: Sequence[str], key: str, group: str) -> Sample | None:
        """A stored question as it was asked; None where the store's copy does not tell that."""
