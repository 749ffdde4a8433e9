"""What every log holds, in one form: tasks, their samples, and what two of them must share."""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic_core import to_json

from capgate.common.answers import AnswerState
from capgate.common.errors import FileFault
from capgate.common.text import one_line

PASSAGES: Final = ("passage", "paragraph", "context", "article", "story")
"""Keys under which data sets keep a text that several questions are about."""

SHORTEST_PASSAGE: Final = 100
"""Characters from which a text under such a key counts as one that questions share."""

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Wanted:
    """What a person wants of logs; keys are task names or patterns such as `mmlu_*`.

    Attributes:
        metrics: The metric that counts, with a filter after a comma where there are several.
        correct_at: The smallest score that counts as correct, where scores are numbers.
        group: Key of an Inspect sample's metadata that holds its group.
        cluster: Key of what several questions are about, such as a passage.
        benchmarks: Names of those that are judged; all where None.
    """

    metrics: Mapping[str, str] = field(default_factory=dict)
    correct_at: Mapping[str, float] = field(default_factory=dict)
    group: str | None = None
    cluster: str | None = None
    benchmarks: frozenset[str] | None = None

    def leaves_out(self, benchmark: str) -> bool:
        """Whether a benchmark is not to be judged."""
        return self.benchmarks is not None and benchmark not in self.benchmarks

    def metric(self, task: str) -> str | None:
        """The metric that is named for a task."""
        return _for_task(self.metrics, task)

    def at_least(self, task: str) -> float | None:
        """The smallest score of a task that counts as correct."""
        return _for_task(self.correct_at, task)


def _for_task(given: Mapping[str, _Value], task: str) -> _Value | None:
    if task in given:
        return given[task]
    return next((one for name, one in given.items() if fnmatchcase(task, name)), None)


@dataclass(frozen=True, slots=True)
class LoggedSample:
    """One question of a log and its answer.

    Attributes:
        place: Where it stands in its file.
        question: Digest of what is asked.
        key: Digest of the right answer.
        state: How its answer ended.
        prompt: Digest of all that was sent; `""` where the log does not tell.
        settings: The generation settings that are logged beside it; `""` where there are none.
        group: Its group; `""` where its task is one.
        cluster: What several questions are about, such as a passage; `""` for none.
        tokens: Tokens of the answer; 0 where they are not known.
        cut_off: Whether the token limit ended it.
        text: The question, for people.
        choices: Its choices.
        keys: The right answer, for people.
        answer: What the model answered, or why there is no answer.
        choice: What was read of it.
    """

    place: str
    question: str
    key: str
    state: AnswerState
    prompt: str = ""
    settings: str = ""
    group: str = ""
    cluster: str = ""
    tokens: int = 0
    cut_off: bool = False
    text: str = ""
    choices: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    answer: str = ""
    choice: str = ""


@dataclass(frozen=True, slots=True)
class Graded:
    """A score between right and wrong, which no exact test of right and wrong can judge."""

    place: str
    metric: str
    value: str


LogLine = LoggedSample | Graded | FileFault
"""What is read at one place of a log; a fault tells what is wrong there."""


class TaskLog(ABC):
    """One task of one run, as a harness logged it.

    Attributes:
        tool: The harness.
        task: The task's name there.
        path: The file that holds its samples.
        model: The model that was asked.
        metric: What is judged, as a clause.
        conditions: What must be the same in both runs, by name.
        facts: What may differ and is told.
        notes: What a reader of the verdict should know.
        expected: How many samples the run should have; None where the log does not tell.
        unfinished: Why samples may be missing, as a clause; `""` where the run ended well.
    """

    tool: str
    task: str
    path: Path
    model: str
    metric: str
    conditions: Mapping[str, Any]
    facts: Mapping[str, str]
    notes: tuple[str, ...] = ()
    expected: int | None = None
    unfinished: str = ""

    @abstractmethod
    def lines(self) -> Iterator[LogLine]:
        """Yields the samples in the log's order, one in memory at a time."""


@dataclass(frozen=True)
class LoggedBenchmark:
    """Tasks that are judged together.

    Attributes:
        name: A task's name, or that of a group of tasks with one score.
        groups: Group to its task. A task that is not part of a group stands under `""`; then
            its samples tell their groups.
        parents: Group to the parent that it belongs to.
    """

    name: str
    groups: Mapping[str, TaskLog]
    parents: Mapping[str, str] = field(default_factory=dict)

    @property
    def logs(self) -> tuple[TaskLog, ...]:
        """Its tasks."""
        return tuple(self.groups.values())


def digest(*content: object) -> str:
    """Hash of plain content: 32 hex digits. Mappings with the same items have the same."""
    return hashlib.sha256(canonical(content)).hexdigest()[:32]


def canonical(content: object) -> bytes:
    """JSON of plain content, the keys of mappings in order."""
    return to_json(_sorted(content), fallback=str, inf_nan_mode="strings")


def _sorted(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _sorted(one) for key, one in sorted(value.items(), key=_by_key)}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_sorted(one) for one in value]
    return value


def _by_key(item: tuple[object, object]) -> str:
    return str(item[0])


def without_addresses(value: object) -> object:
    """A plain value without the addresses of functions, which differ from run to run."""
    if isinstance(value, str):
        return _ADDRESS.sub("", value)
    if isinstance(value, Mapping):
        return {name: without_addresses(one) for name, one in value.items()}
    return [without_addresses(one) for one in value] if isinstance(value, list) else value


def is_right(value: object, at_least: float | None) -> bool | str | None:
    """Whether a score is that of a right answer.

    Args:
        value: The score.
        at_least: The smallest number that counts as correct.

    Returns:
        None where the score is no number; a text that shows the score where it lies between
        right and wrong.
    """
    if isinstance(value, bool):
        return value
    if not isinstance(value, int | float):
        if value is None or value == "":
            return None
        return one_line(str(value), limit=40)
    if isinstance(value, int) and at_least is None and value not in (0, 1):
        return "a whole number beyond 1"
    if math.isnan(value):
        return None
    if at_least is not None:
        return value >= at_least
    if value in (0, 1):
        return value == 1
    return f"{value:g}"


def passage_of(fields: Mapping[str, Any], key: str | None) -> str:
    """What several questions are about; `""` for none.

    Args:
        fields: The fields of a question.
        key: The key that holds it; the usual ones where None.
    """
    if key is not None:
        found = fields.get(key)
        return "" if found in (None, "") else digest("cluster", found)
    for name in PASSAGES:
        found = fields.get(name)
        if isinstance(found, str) and len(found) >= SHORTEST_PASSAGE:
            return digest("cluster", found)
    return ""
