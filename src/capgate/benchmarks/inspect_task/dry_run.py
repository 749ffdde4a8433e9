"""What a task's solver sends and what its scorers read, found out without asking a model.

Questions with marks in place of their texts go through the task's own solver and scorers. So the
hashes made of that stay the same when questions are added or changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from capgate.benchmarks.inspect_task.texts import FORMS, TARGETS, TEXTS
from capgate.benchmarks.mmlu.reading import KEY
from capgate.benchmarks.mmlu.reading import TEXTS as CHOICE_TEXTS
from capgate.benchmarks.without_model import no_model, unasked
from capgate.common.event_loop import in_own_loop

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import Score
    from inspect_ai.solver import TaskState

_MOST: Final = 32
"""Forms of questions whose answers are scored: enough for BBH's 27 groups."""

_ANSWER: Final = "ANSWER: A"
"""What a model seems to answer while a solver is watched."""

Failure = str
"""The name of what a solver or scorer raised."""


@dataclass(frozen=True)
class Sent:
    """What a solver sends for one question.

    Attributes:
        requests: Role and text of each message, for each time that it asks.
        settings: The generation settings that it passes with each.
        failed: The name of what it raised; `""` where it raised nothing.
    """

    requests: tuple[tuple[tuple[str, str], ...], ...]
    settings: tuple[Mapping[str, Any], ...]
    failed: Failure = ""


@dataclass(frozen=True)
class Scored:
    """What the scorers say of one text.

    Attributes:
        text: What was answered.
        scores: Scorer's name to its score; empty where it raised.
        failed: The name of what was raised; `""` for nothing.
    """

    text: str
    scores: Mapping[str, Score]
    failed: Failure = ""


def marked(sample: Sample, *, key: str = TARGETS[0]) -> Sample:
    """A question of a sample's form, with marks in place of what it asks.

    Its metadata are kept, since solvers and scorers may need them.

    Args:
        sample: The question.
        key: The key, where answers are free text.
    """
    changes: dict[str, Any] = {"id": "probe"}
    if isinstance(sample.input, str):
        changes["input"] = "⟨question⟩"
    else:
        head, last = sample.input[:-1], sample.input[-1]
        changes["input"] = [*head, last.model_copy(update={"content": "⟨question⟩"})]
    if sample.choices:
        changes |= {"choices": ["⟨a⟩", "⟨b⟩", "⟨c⟩", "⟨d⟩"], "target": KEY}
    elif sample.target:
        changes["target"] = key if isinstance(sample.target, str) else [key]
    return sample.model_copy(update=changes, deep=True)


def sent_for(task: Task, samples: Sequence[Sample]) -> list[Sent]:
    """What the task's solver sends for questions, or as they are where it can't take marks.

    Args:
        task: The task.
        samples: The questions.

    Raises:
        AsksModelError: The solver asks a model by itself.
    """

    async def watch_all() -> list[Sent]:
        found = []
        for sample in samples:
            sent = await _watch(task, marked(sample))
            found.append(await _watch(task, sample) if sent.failed else sent)
        return found

    with no_model():
        return in_own_loop(watch_all)


def scored_texts(task: Task, samples: Sequence[Sample]) -> list[list[Scored]]:
    """What the task's scorers say of fixed texts that answer questions of each form.

    Args:
        task: The task.
        samples: A question of each form.

    Raises:
        AsksModelError: A scorer asks a model.
    """
    asked = [list(_texts_for(sample)) for sample in samples[:_MOST]]
    found = iter(scored_answers(task, [one for texts in asked for one in texts]))
    return [[next(found) for _ in texts] for texts in asked]


def scored_answers(task: Task, asked: Sequence[tuple[Sample, str]]) -> list[Scored]:
    """What the task's scorers say of answers.

    Args:
        task: The task.
        asked: Questions, and what was answered to each.

    Raises:
        AsksModelError: A scorer asks a model.
    """
    names = scorer_names(task)

    async def score_all() -> list[Scored]:
        return [await _score(task, names, sample, text) for sample, text in asked]

    with no_model():
        return in_own_loop(score_all)


def scorer_names(task: Task) -> list[str]:
    """The task's scorers by the names that a sample's scores have."""
    from inspect_ai.util import registry_info

    names: list[str] = []
    for scorer in task.scorer or []:
        name = plain = registry_info(scorer).name.rpartition("/")[2]
        again = 0
        while name in names:
            again += 1
            name = f"{plain}{again}"
        names.append(name)
    return names


def code_digest(objects: Sequence[object]) -> str:
    """Hash of the files in which solvers or scorers are defined: 16 hex digits."""
    import sys

    names = sorted({getattr(one, "__module__", "") or "" for one in objects})
    digest = hashlib.sha256()
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        digest.update(Path(file).read_bytes() if file else name.encode())
    return digest.hexdigest()[:16]


def digest_of(found: object) -> str:
    """Hash of plain values: 16 hex digits."""
    text = json.dumps(found, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _texts_for(sample: Sample) -> Iterator[tuple[Sample, str]]:
    """A question of marks with each text that answers it."""
    if sample.choices:
        question = marked(sample)
        yield from ((question, text) for text in CHOICE_TEXTS)
        return
    for key in TARGETS if sample.target else TARGETS[:1]:
        question = marked(sample, key=key)
        yield from ((question, text) for text in TEXTS)
        yield from ((question, form.format(key)) for form in FORMS)


async def _watch(task: Task, sample: Sample) -> Sent:
    from inspect_ai.model import ModelOutput

    requests: list[tuple[tuple[str, str], ...]] = []
    settings: list[Mapping[str, Any]] = []

    async def generate(state: TaskState, *_: object, **how: object) -> TaskState:
        requests.append(tuple((message.role, message.text) for message in state.messages))
        settings.append({key: value for key, value in how.items() if value is not None})
        state.output = ModelOutput.from_content("none/none", _ANSWER)
        state.messages.append(state.output.message)
        return state

    failed = ""
    try:
        await _solver(task)(unasked(sample), generate)
    except Exception as error:
        failed = _failure(error, "solver")
    return Sent(tuple(requests), tuple(settings), failed)


async def _score(task: Task, names: Sequence[str], sample: Sample, text: str) -> Scored:
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Target

    async def generate(state: TaskState, *_: object, **__: object) -> TaskState:
        state.output = ModelOutput.from_content("none/none", text)
        state.messages.append(state.output.message)
        return state

    scores: dict[str, Score] = {}
    try:
        state = await _solver(task)(unasked(sample), generate)
        for name, scorer in zip(names, task.scorer or [], strict=True):
            score = await scorer(state, Target(sample.target))
            if score is not None:
                scores[name] = score
    except Exception as error:
        return Scored(text, {}, _failure(error, "scorer"))
    return Scored(text, scores)


def _solver(task: Task) -> Any:  # noqa: ANN401 (a chain of solvers is called as one is)
    return task.solver


def _failure(error: Exception, part: str) -> Failure:
    # Inspect's own error for a model that is not there has no public name.
    if type(error).__name__ == "PrerequisiteError" and "No model" in str(error):
        raise AsksModelError(part) from error
    return type(error).__name__


class AsksModelError(Exception):
    """A solver or scorer asks a model by itself.

    Args:
        part: `solver` or `scorer`.
    """

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.part = part
