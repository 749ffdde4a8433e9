"""One entry of `config/benchmarks.yaml`: its keys, and what each of them may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from capgate.benchmarks.mmlu.subjects import DOMAINS
from capgate.benchmarks.mmlu.task import TASKS
from capgate.common.errors import FileFault

PARENTS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {"mmlu_domains": DOMAINS}
"""Groupings that `parents` may name: parent to its groups."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_MODULE: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


def is_benchmark_name(name: str) -> bool:
    """Whether a benchmark may have this name, which file names and test ids hold."""
    return _NAME.fullmatch(name) is not None and len(name) <= 64


def _one_group(pattern: str) -> bool:
    try:
        return re.compile(pattern).groups > 0
    except re.error:
        return False


class BenchmarkEntry(BaseModel):
    """One entry of `config/benchmarks.yaml`: what is asked, and how its scores are read.

    Attributes:
        task: An Inspect task: its registered name, or `FILE.py@NAME` of this project.
        questions: A file of questions, in place of a task.
        args: The task's arguments.
        group: Key of a sample's metadata that holds its group.
        groups: The groups in order. Where they are given, no other group may occur, and tests
            can be listed without loading the questions.
        parents: Parent to its groups, or the name of a grouping that capgate knows.
        scorer: The scorer that counts, where the task has several.
        correct: The key that counts, where a score holds several values.
        correct_at: The smallest score that counts as correct, where scores are numbers.
        catch: A true drop of this size must be caught, as a fraction; else the policy's.
        advisory: Whether the benchmark is reported and never decides.
        max_tokens: The most tokens of an answer.
        epochs: 1 where each question is asked once, though the task asks it more often.
        cluster: Key of a sample's metadata that questions about one text share. One question of
            each such text is asked, since the gate's tests take questions for independent.
        cluster_pattern: In place of `cluster`: a regular expression whose first group finds that
            text in a question.
        questions_of: The benchmark whose questions these are in another form, such as another
            language. Where a run asks both, their losses are counted together only once.
        size: How many questions there are, for those who have not loaded them.
        requires: Python module that the task needs and capgate does not bring, to how one gets it.
        description: What it measures, for people.
        note: What people should know before they rely on it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Annotated[str, Field(min_length=1)] | None = None
    questions: Annotated[str, Field(min_length=1)] | None = None
    args: dict[str, Any] = {}
    group: Annotated[str, Field(min_length=1)] | None = None
    groups: tuple[str, ...] = ()
    parents: str | dict[str, tuple[str, ...]] = {}
    scorer: Annotated[str, Field(min_length=1)] | None = None
    correct: Annotated[str, Field(min_length=1)] | None = None
    correct_at: Annotated[float, Field(allow_inf_nan=False)] | None = None
    catch: Share | None = None
    advisory: bool = False
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    epochs: Literal[1] | None = None
    cluster: Annotated[str, Field(min_length=1)] | None = None
    cluster_pattern: Annotated[str, Field(min_length=1)] | None = None
    questions_of: Annotated[str, Field(min_length=1)] | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    requires: dict[Annotated[str, Field(pattern=_MODULE)], str] = {}
    description: str = ""
    note: str = ""

    @property
    def parent_of(self) -> dict[str, str]:
        """Group to the parent that it belongs to."""
        parents = PARENTS.get(self.parents, {}) if isinstance(self.parents, str) else self.parents
        return {group: parent for parent, groups in parents.items() for group in groups}

    @property
    def known_groups(self) -> tuple[str, ...]:
        """The groups in order, as far as the entry tells them: `groups`, or those of `parents`."""
        return self.groups or tuple(sorted(self.parent_of))

    def faults(self) -> Iterator[FileFault]:
        """What no single key shows; places are keys of this entry."""
        for key in ("task", "questions"):
            if not (getattr(self, key) or "").isprintable():
                yield FileFault(key, "has a character that can't be printed")
        if (self.task is None) == (self.questions is None):
            yield FileFault("", "give `task`, or `questions` for a file of questions: one of them")
        if self.questions is not None:
            for key in ("args", "epochs", "correct", "correct_at", "requires"):
                if getattr(self, key):
                    yield FileFault(key, "belongs to a `task`, not to a file of questions")
        if isinstance(self.parents, str) and self.parents not in PARENTS:
            known = ", ".join(PARENTS)
            yield FileFault(
                "parents",
                f"expected {known}, or parents with lists of their groups, got {self.parents!r}",
            )
        if self.cluster is not None and self.cluster_pattern is not None:
            yield FileFault("cluster_pattern", "stands in place of `cluster`: give one of them")
        if self.cluster_pattern is not None and not _one_group(self.cluster_pattern):
            yield FileFault("cluster_pattern", "expected a regular expression with a group")
        yield from self._faults_of_groups()

    def _faults_of_groups(self) -> Iterator[FileFault]:
        for name in dict.fromkeys(self.groups):
            if self.groups.count(name) > 1:
                yield FileFault("groups", f"names {name!r} twice")
        if self.task is not None and self.group is None and (self.groups or self.parents):
            key = "groups" if self.groups else "parents"
            yield FileFault(key, "needs `group`, the key of the samples' metadata that holds it")
        if isinstance(self.parents, dict):
            seen: dict[str, str] = {}
            for parent, groups in self.parents.items():
                for name in groups:
                    if name in seen:
                        yield FileFault(
                            f"parents.{parent}", f"{name!r} belongs to {seen[name]} already"
                        )
                    elif self.groups and name not in self.groups:
                        yield FileFault(f"parents.{parent}", f"{name!r} is not one of `groups`")
                    seen[name] = parent

    @property
    def is_mmlu(self) -> bool:
        """Whether capgate has questions and a reading of its own for the task."""
        return self.task in TASKS and not self.args
