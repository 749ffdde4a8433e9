"""An Inspect task's questions: in groups, known by their content, one of each repeated text."""

from __future__ import annotations

import string
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from capgate.benchmarks.exported.folder import has_export, package_of, read_export
from capgate.benchmarks.group_names import group_name
from capgate.benchmarks.inspect_task import upstream
from capgate.benchmarks.inspect_task.dry_run import AsksModelError, sent_for
from capgate.benchmarks.inspect_task.guarantees import asks_model, check_task, notes_on
from capgate.benchmarks.inspect_task.source import TaskSource, arguments_text
from capgate.benchmarks.questions import Question, question_hash
from capgate.benchmarks.shared_texts import one_of_each_text
from capgate.common.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample

_lock: Final = threading.RLock()


@dataclass(frozen=True)
class TaskQuestions:
    """Which questions of a task are asked, and how they are grouped.

    Attributes:
        source: Where the task comes from.
        group: Key of a sample's metadata that holds its group; None for no groups.
        groups: The groups, where the entry tells them; no other may occur.
        cluster: Key of a sample's metadata that questions about one text share.
        cluster_pattern: In its place, a regular expression whose first group finds that text.
        once: Whether each question is asked once, though the task asks it more often.
        folder: Where its exported questions are; None for the task's own data.
    """

    source: TaskSource
    group: str | None = None
    groups: tuple[str, ...] = ()
    cluster: str | None = None
    cluster_pattern: str | None = None
    once: bool = False
    folder: Path | None = None


@dataclass(frozen=True, eq=False)
class LoadedTask:
    """A task with its questions.

    Attributes:
        task: Inspect's task, whose solver and scorers ask.
        questions: In the task's order; by hash where the task shuffles them.
        notes: What a person should know of them, as clauses.
        revision: The hub's commit that pins them; `""` where none does.
    """

    task: Task
    questions: tuple[Question, ...]
    notes: tuple[str, ...]
    revision: str

    @cached_property
    def letters(self) -> str:
        """The letters of the question with the most choices; `""` where any has none."""
        counts = [len(question.sample.choices or ()) for question in self.questions]
        return string.ascii_uppercase[: max(counts)] if min(counts) else ""

    def examples(self) -> list[Sample]:
        """One question of each group: the one with the smallest hash."""
        first: dict[str, Question] = {}
        for question in sorted(self.questions, key=lambda one: one.hash):
            first.setdefault(question.subject, question)
        return [first[group].sample for group in sorted(first)]


def loaded(wanted: TaskQuestions) -> LoadedTask:
    """Makes a task and takes its questions, once per process.

    Raises:
        ConfigError: The task can't be made, or can't be judged.
        DatasetError: Its questions can't be loaded, or lack a group.
    """
    with _lock:
        return _loaded(wanted)


@lru_cache(maxsize=32)
def _loaded(wanted: TaskQuestions) -> LoadedTask:
    source = wanted.source
    if wanted.folder is not None:
        task, revision = _exported(source, wanted.folder)
    else:
        task = source.make()
        module = upstream.module_of(source.name) if source.is_upstreams else ""
        revision = upstream.revision_of(module)
    check_task(task, source.benchmark, once=wanted.once)
    questions, notes = _questions(task, wanted)
    told = (*notes_on(task, source, once=wanted.once), *notes)
    made = LoadedTask(task, questions, told, revision)
    # Choices may be shuffled without a seed by a task of upstream's, too.
    has_choices = any(one.sample.choices for one in questions)
    if wanted.folder is None and (has_choices or not source.is_upstreams):
        _check_again(made, wanted)
    return made


def _check_again(made: LoadedTask, wanted: TaskQuestions) -> None:
    """Makes sure that a task asks the same when another process makes it.

    Raises:
        ConfigError: It has other questions, or shows other examples; or it asks a model by itself.
    """
    source = wanted.source
    task = source.make()
    questions, _ = _questions(task, wanted)
    differ = ""
    if {one.hash for one in questions} != {one.hash for one in made.questions}:
        differ = "has other questions"
    else:
        examples = made.examples()
        try:
            if sent_for(task, examples) != sent_for(made.task, examples):
                differ = "sends other prompts"
        except AsksModelError as error:
            raise asks_model(source.benchmark, error.part) from error
    if differ:
        update = "update inspect-evals, or " if source.is_upstreams else ""
        raise ConfigError(
            f"the task of {source.benchmark} {differ} each time that it is made, so answers of "
            "two runs can't be paired",
            remedy=f"{update}give what it shuffles or draws a fixed seed; shuffled choices are "
            "other questions too",
        )


def folder_with(source: str, benchmark: str) -> Path | None:
    """The folder that a source names, where it has a benchmark's exported questions."""
    folder = Path(source).resolve()
    known = source not in {"hub", "bundled"} and has_export(folder, benchmark)
    return folder if known else None


def _exported(source: TaskSource, folder: Path) -> tuple[Task, str]:
    """Makes a task of its exported questions, without its data; tells their revision as well.

    Raises:
        DatasetError: The export is damaged, of another task, or says nothing of the task.
    """
    name = source.benchmark
    about, samples = read_export(folder, name)
    if (about.task, arguments_text(about.args)) != (source.spec, source.arguments):
        raise DatasetError(
            f"{folder} has questions of {name} for the task {about.task} with the arguments "
            f"{arguments_text(about.args)}; its entry says {source.spec} with {source.arguments}",
            remedy="export them again with today's entry",
        )
    if about.plan is None:
        raise DatasetError(
            f"{folder} does not say how the task of {name} asks its questions",
            remedy="export them again with today's capgate",
        )
    source.import_module()
    return about.plan.make(samples, package_of(source.spec)), about.revision


def _questions(task: Task, wanted: TaskQuestions) -> tuple[tuple[Question, ...], list[str]]:
    name = wanted.source.benchmark
    samples = list(task.dataset)
    if not samples:
        raise DatasetError(f"the task of {name} has no questions")
    group_of = _grouping(wanted, samples)
    found: dict[str, Question] = {}
    ids: set[str] = set()
    for sample in samples:
        digest = question_hash(sample)
        if digest in found:
            continue
        found[digest] = Question(digest, group_of(sample), _with_id(sample, digest, ids))
    notes = []
    if repeats := len(samples) - len(found):
        what = "question is" if repeats == 1 else "questions are"
        notes.append(f"{repeats:,} repeated {what} asked once")
    kept, left = one_of_each_text(
        tuple(found.values()), name, wanted.cluster, wanted.cluster_pattern
    )
    if left:
        notes.append(left)
    # A task that shuffles without a seed has another order each time.
    ordered = sorted(kept, key=lambda one: one.hash) if task.dataset.shuffled else kept
    return tuple(ordered), notes


def _with_id(sample: Sample, digest: str, ids: set[str]) -> Sample:
    """A sample with an id that no other has; the task's own where it gives one."""
    own = digest if sample.id is None else sample.id
    if str(own) in ids:
        own = f"{own}_{digest[:8]}"
    ids.add(str(own))
    return sample if own == sample.id else sample.model_copy(update={"id": own})


def _grouping(wanted: TaskQuestions, samples: Sequence[Sample]) -> Callable[[Sample], str]:
    """What tells a sample's group.

    Raises:
        DatasetError: A sample has no group, or one that the entry does not name.
    """
    name, key = wanted.source.benchmark, wanted.group
    if key is None:
        return lambda _: name

    def group_of(sample: Sample) -> str:
        value = (sample.metadata or {}).get(key)
        return "" if value is None else group_name(value)

    bare = [sample for sample in samples if not group_of(sample)]
    if bare:
        keys = ", ".join(sorted(bare[0].metadata or ())) or "none"
        raise DatasetError(
            f"{len(bare):,} of {len(samples):,} questions of {name} have no {key!r} in their "
            f"metadata (keys of the first: {keys})",
            remedy=f"correct `group` of {name}, or leave it out",
        )
    if wanted.groups:
        unknown = sorted({group_of(sample) for sample in samples} - set(wanted.groups))
        if unknown:
            near = get_close_matches(unknown[0], wanted.groups, n=1)
            hint = f"; nearest to {unknown[0]}: {near[0]}" if near else ""
            raise DatasetError(
                f"questions of {name} belong to groups that its entry does not name: "
                f"{', '.join(unknown[:10])}{hint}",
                remedy=f"name all groups in `groups` of {name}, or leave `groups` out",
            )
    return group_of
