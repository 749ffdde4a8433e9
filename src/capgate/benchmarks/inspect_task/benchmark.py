"""An Inspect task as a benchmark."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from capgate.benchmarks.benchmark import Reading
from capgate.benchmarks.inspect_task import upstream
from capgate.benchmarks.inspect_task.dry_run import (
    AsksModelError,
    Scored,
    Sent,
    code_digest,
    digest_of,
    scored_texts,
    scorer_names,
    sent_for,
)
from capgate.benchmarks.inspect_task.guarantees import asks_model
from capgate.benchmarks.inspect_task.load import (
    LoadedTask,
    TaskQuestions,
    folder_with,
    loaded,
)
from capgate.benchmarks.inspect_task.scores import ScoreRules
from capgate.benchmarks.letter_alone import letter_alone
from capgate.benchmarks.questions import Question, QuestionSet, question_hash
from capgate.common.errors import ConfigError

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, ModelOutput
    from inspect_ai.scorer import Score

_OF_THE_CLIENT: Final = (
    *("max_retries", "timeout", "attempt_timeout", "max_connections", "adaptive_connections"),
    *("cache", "batch"),
)
"""Settings of a task that say how a server is reached, which is capgate's own matter."""

_NUMBERS: Final = (
    *("3", "8", "5", "9", "7", "11", "13", "15"),
    *("17", "19", "21", "23", "25", "27", "29", "31"),
)
"""Choices of an easy question: the second is the even one."""

_LETTER_ALONE: Final = re.compile(
    r"entire content of your response should be of the following format:\s*'?ANSWER: \$LETTER\b"
)
"""Where a prompt asks for a letter and nothing else, in the words of Inspect's own template."""


@dataclass(frozen=True)
class InspectTaskBenchmark:
    """A benchmark that is an Inspect task, of a package or of the user's own.

    Attributes:
        name: Its name in `config/benchmarks.yaml`.
        wanted: Its task, and which of its questions are asked.
        rules: How its scores are read.
        default_max_tokens: The most tokens of an answer, where neither entry nor task says it.
        entry_max_tokens: The most tokens of an answer that the entry says; None for none.
        parents: Group to the parent that it belongs to.
        catch: The drop that must be caught; None for the policy's.
        advisory: Whether it is reported and never decides.
        shots: Few-shot examples before each question, as the task's arguments say.
        steps: None: Inspect tells its solvers.
    """

    name: str
    wanted: TaskQuestions
    rules: ScoreRules
    default_max_tokens: int
    entry_max_tokens: int | None = None
    parents: Mapping[str, str] = field(default_factory=dict)
    catch: float | None = None
    advisory: bool = False
    shots: int = 0
    steps: None = None
    _made: dict[Path | None, LoadedTask] = field(default_factory=dict, repr=False, compare=False)
    _sets: dict[Path | None, QuestionSet] = field(default_factory=dict, repr=False, compare=False)

    @property
    def task_name(self) -> str:
        """The task as the entry names it."""
        return self.wanted.source.spec

    @property
    def groups(self) -> Sequence[str]:
        """Its groups: those of the entry, else those of its questions; see `Benchmark.groups`."""
        if self.wanted.group is None:
            return ()
        if self.wanted.groups:
            return self.wanted.groups
        return sorted({question.subject for question in self._loaded.questions})

    @property
    def listed_groups(self) -> Sequence[str]:
        """Those of the entry; see `Benchmark.listed_groups`."""
        return self.wanted.groups or ()

    @property
    def letters(self) -> str:
        """The letters of the question with the most choices; `""` where any has none."""
        return self._loaded.letters

    @property
    def form(self) -> str:
        """What an answer must hold to be read, for people."""
        if self.letters:
            return "ANSWER: and a letter"
        (name,) = [self.rules.scorer] if self.rules.scorer else scorer_names(self._task)[:1]
        return "a number" if self._is_numeric else f"what its scorer {name} can read"

    @property
    def max_tokens(self) -> int:
        """The most tokens of an answer: the entry's, else the task's, else the run's."""
        if self.entry_max_tokens is not None:
            return self.entry_max_tokens
        return self._solvers_limit or self._task.config.max_tokens or self.default_max_tokens

    @property
    def notes(self) -> str:
        """What a person should know before relying on it; `""` for nothing."""
        return "; ".join(self._loaded.notes)

    def load(self, source: str) -> QuestionSet:
        """Loads the questions; see `Benchmark.load`.

        They are the task's own, unless the source is a folder that has them exported.

        Raises:
            ConfigError: The task can't be made or judged, or its scores can't be read.
            DatasetError: Its questions can't be loaded, or lack a group.
        """
        folder = folder_with(source, self.name)
        if folder not in self._sets:
            found = self._load(folder)
            self._check_limit()
            _ = self._extracts, self.versions
            origin = self._origin if folder is None else str(folder)
            self._sets[folder] = QuestionSet(origin, found.revision, self.shots, found.questions)
        return self._sets[folder]

    def may_be_away(self, source: str) -> bool:  # noqa: ARG002
        """Whether they are not loaded yet: only making the task tells whether they can be."""
        return not self._made

    def task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """Builds the Inspect task that asks `questions`; see `Benchmark.task`."""
        from inspect_ai import task_with
        from inspect_ai.dataset import MemoryDataset

        # `task_with` changes the task that it is handed.
        return task_with(
            copy.copy(self._task),
            dataset=MemoryDataset([question.sample for question in questions], name=shard),
            name=self.name if shard == self.name else f"{self.name}_{shard}",
            config=self._config,
            epochs=None,
        )

    def direct_task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """The same task; see `Benchmark.direct_task`."""
        return self.task(questions, shard=shard)

    def read(self, scores: Mapping[str, Score], output: ModelOutput) -> Reading:
        """What the scores say; see `Benchmark.read`."""
        return self.rules.read(
            self.rules.counting(scores), output.completion, extracts=self._extracts
        )

    @property
    def probe(self) -> Question:
        """A question for the preflight.

        An easy one in the task's form where it has choices. A free text's form is known from the
        task's questions alone, so it is one of them: the one with the smallest hash.
        """
        first = min(self._loaded.questions, key=lambda question: question.hash)
        count = len(first.sample.choices or ())
        if not 2 <= count <= len(_NUMBERS):
            return first
        text = "Which of these numbers is even?"
        asked = first.sample.input
        changes: dict[str, Any] = {
            "id": "probe",
            "input": text
            if isinstance(asked, str)
            else [*asked[:-1], asked[-1].model_copy(update={"content": text})],
            "choices": list(_NUMBERS[:count]),
            "target": "B",
        }
        sample = first.sample.model_copy(update=changes)
        return Question(question_hash(sample), first.subject, sample)

    def constraint(self, engine: str) -> Mapping[str, Any] | None:
        """Fields of a request that allow a letter alone, where each prompt asks for just that.

        Where questions differ in their number of choices, the letters of the longest are allowed.
        """
        letters = self.letters
        prompts = [sent.requests[-1][-1][1] for sent in self._sent if sent.requests]
        if not letters or not all(map(_LETTER_ALONE.search, prompts)):
            return None
        return letter_alone(engine, letters)

    def again(
        self,
        text: str,  # noqa: ARG002
        choices: Sequence[str],  # noqa: ARG002
        key: str,  # noqa: ARG002
        group: str,  # noqa: ARG002
    ) -> Sample | None:
        """None: the store does not keep the metadata that a task's solver may need."""
        return None

    @cached_property
    def prompt_hash(self) -> str:
        """Hash of what the task's solver sends for a question of marks: 16 hex digits.

        Each group's questions have a part in it, since a solver may show other examples for each;
        groups that are asked alike have one part together.
        """
        source = self.wanted.source
        forms = sorted({digest_of([s.requests, s.settings, s.failed]) for s in self._sent})
        config = self._config.model_dump(exclude_none=True, mode="json")
        for name in ("max_tokens", "temperature"):
            config.pop(name, None)
        failed = any(sent.failed for sent in self._sent)
        code = code_digest([*self._solvers]) if failed else ""
        return digest_of([source.spec, source.arguments, config, forms, code])

    @cached_property
    def versions(self) -> dict[str, str]:
        """What decides how an answer is read, and the packages' versions for people.

        `scorer` is a hash of what the scorers read in fixed texts. Where they can score none of
        them, it is a hash of the files that define them.
        """
        found = {
            "task": f"{self.task_name}@{self._task.version}",
            "scorer": self._scorer_hash,
            "inspect_ai": version("inspect-ai"),
        }
        if self.wanted.source.is_upstreams:
            found["inspect_evals"] = version("inspect-evals")
        return found

    def _load(self, folder: Path | None) -> LoadedTask:
        if folder not in self._made:
            self._made[folder] = loaded(replace(self.wanted, folder=folder))
        return self._made[folder]

    @property
    def _loaded(self) -> LoadedTask:
        """What was loaded first, which tells how all are asked."""
        return next(iter(self._made.values()), None) or self._load(self.wanted.folder)

    @property
    def _task(self) -> Task:
        return self._loaded.task

    @property
    def _solvers(self) -> Sequence[object]:
        solver = self._task.solver
        return solver if isinstance(solver, Sequence) else [solver]

    @cached_property
    def _config(self) -> GenerateConfig:
        """The task's settings of an answer, with its token limit."""
        config = self._task.config
        own: dict[str, Any] = {
            name: None for name in _OF_THE_CLIENT if name in type(config).model_fields
        }
        return config.model_copy(update={**own, "max_tokens": self.max_tokens})

    @cached_property
    def _sent(self) -> list[Sent]:
        try:
            return sent_for(self._task, self._loaded.examples())
        except AsksModelError as error:
            raise asks_model(self.name, error.part) from error

    @property
    def _solvers_limit(self) -> int | None:
        """The token limit that the task's solver sets by itself; None for none."""
        limits = {
            settings["max_tokens"]
            for sent in self._sent
            for settings in sent.settings
            if "max_tokens" in settings
        }
        return max(limits, default=None)

    def _check_limit(self) -> None:
        own, asked = self._solvers_limit, self.entry_max_tokens
        if own is not None and asked not in (None, own):
            raise ConfigError(
                f"the entry {self.name} allows answers of {asked} tokens, and its task's solver "
                f"asks for at most {own} by itself",
                remedy="leave max_tokens out, or set the task's own argument for it in `args`",
            )

    @cached_property
    def _scored(self) -> list[list[Scored]]:
        """What the scorers say of fixed texts, for one question of each group."""
        try:
            return scored_texts(self._task, self._loaded.examples())
        except AsksModelError as error:
            raise asks_model(self.name, error.part) from error

    @cached_property
    def _extracts(self) -> bool:
        """Whether the scorer that counts tells which answer it read, where it read one."""
        found = (one.scores for texts in self._scored for one in texts if one.scores)
        return any(self.rules.counting(scores).answer is not None for scores in found)

    @cached_property
    def _scorer_hash(self) -> str:
        rules = [self.rules.scorer, self.rules.correct, self.rules.correct_at]
        # Groups that are read alike have one part in it together.
        told = sorted({digest_of([self._told(one) for one in texts]) for texts in self._scored})
        scored = any(one.scores for texts in self._scored for one in texts)
        return digest_of([rules, told if scored else code_digest(self._task.scorer or [])])

    def _told(self, one: Scored) -> list[str]:
        reading = self._reading(one)
        return [one.failed] if reading is None else [reading.state.value, reading.choice]

    def _reading(self, one: Scored) -> Reading | None:
        if not one.scores:
            return None
        return self.rules.read(self.rules.counting(one.scores), one.text, extracts=self._extracts)

    @property
    def _is_numeric(self) -> bool:
        keys = [question.sample.target for question in self._loaded.questions]
        return all(isinstance(key, str) and _NUMBER.fullmatch(key.strip()) for key in keys)

    @property
    def _origin(self) -> str:
        """Where the questions come from, as results record it."""
        if self.wanted.source.is_upstreams:
            module = upstream.module_of(self.wanted.source.name)
            return ", ".join(dict.fromkeys(upstream.sources_of(module))) or self.task_name
        return self.task_name


_NUMBER: Final = re.compile(r"[-+]?[\d,]*\.?\d+")
