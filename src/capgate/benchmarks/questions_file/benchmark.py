"""A file of questions as a benchmark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from capgate.benchmarks.benchmark import Reading, Steps
from capgate.benchmarks.exported.folder import files_of, read_export
from capgate.benchmarks.letter_alone import letter_alone
from capgate.benchmarks.questions import Question, QuestionSet
from capgate.benchmarks.questions_file.checked_rows import FileRow
from capgate.benchmarks.questions_file.file_rows import FileQuestions, read_questions_file
from capgate.benchmarks.questions_file.samples import question_of, sample_of
from capgate.benchmarks.questions_file.scoring import (
    CHOICE,
    FREE_TEXT,
    NUMERIC,
    form_of,
    make_scorer,
    make_solver,
    read_score,
    scorer_hash,
    steps_of,
)
from capgate.benchmarks.shared_texts import one_of_each_text
from capgate.benchmarks.without_model import sent_by
from capgate.common.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

GROUP: Final = "group"
"""The key of a row's group, where the entry names no other."""


@dataclass(frozen=True)
class QuestionsFileBenchmark:
    """A benchmark that is one file of questions, without code.

    Questions with choices are asked by Inspect's `multiple_choice`, others as they are written.

    Attributes:
        name: Its name in `config/benchmarks.yaml`.
        path: The file.
        task_name: The file as the entry names it.
        max_tokens: The most tokens of an answer.
        folder: Where its exported questions are, which are asked in place of a file that is away.
        group_key: Key of a row, or of its metadata, that holds the group.
        known_groups: The groups in order, where the entry names them; no other may occur.
        parents: Group to the parent that it belongs to.
        scorer_name: What scores answers; None for what suits the questions.
        cluster: Key of a row, or of its metadata, that questions about one text share.
        cluster_pattern: In its place, a regular expression whose first group finds that text.
        catch: The drop that must be caught; None for the policy's.
        advisory: Whether it is reported and never decides.
        shots: Few-shot examples: none.
    """

    name: str
    path: Path
    task_name: str
    max_tokens: int
    folder: Path | None = None
    group_key: str = GROUP
    known_groups: tuple[str, ...] = ()
    parents: Mapping[str, str] = field(default_factory=dict)
    scorer_name: str | None = None
    cluster: str | None = None
    cluster_pattern: str | None = None
    catch: float | None = None
    advisory: bool = False
    shots: int = 0
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def groups(self) -> Sequence[str]:
        """Its groups, read from the file without importing Inspect."""
        return self.known_groups or self._file.groups

    @property
    def listed_groups(self) -> Sequence[str]:
        """All of them; see `Benchmark.listed_groups`."""
        return self.groups

    @property
    def letters(self) -> str:
        """The letters of the question with the most choices; `""` for free text."""
        return self._file.letters

    @property
    def scorer(self) -> str:
        """What scores the answers.

        Raises:
            ConfigError: The entry names a scorer that these questions can't have.
        """
        if self._file.is_choice:
            known: tuple[str, ...] = (CHOICE,)
        else:
            numeric = self._file.is_numeric
            known = FREE_TEXT if numeric else tuple(one for one in FREE_TEXT if one != NUMERIC)
        chosen = self.scorer_name or known[0]
        if chosen not in known:
            kind = "have choices" if self._file.is_choice else "have no choices"
            if chosen == NUMERIC:
                kind = "have answers that are no numbers"
            raise ConfigError(
                f"{self.name}: its questions {kind}, so `scorer: {chosen}` does not fit",
                remedy=f"use {' or '.join(known)}, or leave it out",
            )
        return chosen

    def load(self, source: str) -> QuestionSet:  # noqa: ARG002 (the file is the only source)
        """Loads the questions; see `Benchmark.load`."""
        self._check_groups()
        return self._kept[0]

    def may_be_away(self, source: str) -> bool:  # noqa: ARG002
        """Whether the file seems not to be there; see `Benchmark.may_be_away`."""
        return self.folder is None and not self.path.is_file()

    def task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """Builds the Inspect task that asks `questions`; see `Benchmark.task`."""
        from inspect_ai import Task
        from inspect_ai.dataset import MemoryDataset
        from inspect_ai.model import GenerateConfig

        return Task(
            name=f"{self.name}_{shard}",
            dataset=MemoryDataset([question.sample for question in questions], name=shard),
            solver=make_solver(self.scorer),
            scorer=make_scorer(self.scorer),
            config=GenerateConfig(temperature=0.0, max_tokens=self.max_tokens),
        )

    def direct_task(self, questions: Sequence[Question], *, shard: str) -> Task:
        """The same task; see `Benchmark.direct_task`."""
        return self.task(questions, shard=shard)

    def read(self, scores: Mapping[str, Score], output: ModelOutput) -> Reading:  # noqa: ARG002
        """What the scorer's one score says; see `Benchmark.read`."""
        return read_score(self.scorer, next(iter(scores.values())))

    @property
    def probe(self) -> Question:
        """An easy question in the form of the file's, for the preflight."""
        choices: tuple[str, ...] = ()
        if self.scorer == CHOICE:
            text, choices, key = "Which of these numbers is even?", ("3", "5", "8"), "C"
        elif self.scorer == NUMERIC:
            text, key = "What is 3 + 5? Answer with the number alone.", "8"
        else:
            text, key = "Repeat this word and say nothing else: apple", "apple"
        group = self.groups[0] if self.groups else ""
        row = FileRow(0, None, text, choices, key, group, {})
        return question_of(row, group or self.name)

    def constraint(self, engine: str) -> Mapping[str, Any] | None:
        """Fields of a request that allow nothing but a letter; None for free text.

        Where questions differ in their number of choices, the letters of the longest are allowed.
        """
        return letter_alone(engine, self.letters) if self.letters else None

    def again(self, text: str, choices: Sequence[str], key: str, group: str) -> Sample | None:
        """A stored question as it was asked, where the file still has it."""
        for row in self._file.rows:
            known = (row.input, row.choices, row.group or self.name)
            if known == (text, tuple(choices), group) and key in row.targets:
                return sample_of(row)
        return None

    @property
    def form(self) -> str:
        """What an answer must hold to be read; see `Benchmark.form`."""
        return form_of(self.scorer)

    @property
    def steps(self) -> Steps:
        """The solver and the scorer; see `Benchmark.steps`."""
        return steps_of(self.scorer)

    @cached_property
    def prompt_hash(self) -> str:
        """Hash of what the solver makes of a fixed question: 16 hex digits."""
        choices = ("⟨a⟩", "⟨b⟩", "⟨c⟩", "⟨d⟩") if self.scorer == CHOICE else ()
        row = FileRow(0, "probe", "⟨question⟩", choices, "A", "", {})
        sent, _ = sent_by(make_solver(self.scorer), sample_of(row))
        return hashlib.sha256(json.dumps(sent).encode()).hexdigest()[:16]

    @cached_property
    def versions(self) -> dict[str, str]:
        """What decides how an answer is read, and Inspect's version for people."""
        return {
            "task": f"questions_file/{self.scorer}@1",
            "scorer": scorer_hash(self.scorer),
            "inspect_ai": version("inspect-ai"),
        }

    @property
    def notes(self) -> str:
        """What a person should know of the file, such as repeated rows; `""` for nothing."""
        left = self._kept[1] if self.cluster or self.cluster_pattern else ""
        return "; ".join(filter(None, (self._file.told, left)))

    @property
    def _kept(self) -> tuple[QuestionSet, str]:
        """The questions that are asked, and what is to be told of those left out for their text."""
        file = self._file
        if self._made.get("file") is not file:
            if self.folder is not None:
                # The file is read as a person's own would be; here its hashes are checked.
                read_export(self.folder, self.name)
            made = [question_of(row, row.group or self.name) for row in file.rows]
            kept, told = one_of_each_text(made, self.name, self.cluster, self.cluster_pattern)
            questions = QuestionSet(self.task_name, "", 0, tuple(kept))
            self._made.update(file=file, kept=(questions, told))
        found: tuple[QuestionSet, str] = self._made["kept"]
        return found

    @property
    def _file(self) -> FileQuestions:
        return read_questions_file(self._read_from, self.group_key)

    @property
    def _read_from(self) -> Path:
        return self.path if self.folder is None else files_of(self.folder, self.name)[0]

    def _check_groups(self) -> None:
        found, known = self._file.groups, self.known_groups
        if known and not found:
            raise DatasetError(
                f"the questions of {self._read_from} have no {self.group_key}, though {self.name} "
                "names its groups",
                remedy="give each question its group, or leave `groups` out",
            )
        if known and (more := sorted(set(found) - set(known))):
            raise DatasetError(
                f"{self._read_from} has questions of {', '.join(more)}, which `groups` of "
                f"{self.name} does not name",
                remedy="name all groups, or leave `groups` out",
            )
