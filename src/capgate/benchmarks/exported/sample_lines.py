"""A sample as one line of Inspect's own JSON lines, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel, ConfigDict, JsonValue

from capgate.benchmarks.exported.plain_values import Kinds, from_plain, to_plain
from capgate.benchmarks.messages import Role, message_of
from capgate.benchmarks.questions import Question, question_hash
from capgate.common.errors import DatasetError

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage

_RUNS_CODE: Final = ("sandbox", "files", "setup")


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Role
    content: str


class _Line(BaseModel):
    """One line. Inspect reads all but `hash` and `kinds`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: int | str
    input: str | list[_Message]
    target: str | list[str]
    choices: list[str] | None = None
    metadata: dict[str, JsonValue] = {}
    kinds: Kinds = {}
    hash: str


def to_line(question: Question, package: str) -> dict[str, Any]:
    """Makes a question's line.

    Args:
        question: The question.
        package: The task's package; see `to_plain`.

    Raises:
        DatasetError: The sample shows more than texts, runs code, or has metadata without a form.
    """
    sample = question.sample
    if used := next((name for name in _RUNS_CODE if getattr(sample, name)), ""):
        raise _no_line(sample, f"it has {used}")
    kinds: Kinds = {}
    try:
        metadata = to_plain(sample.metadata or {}, kinds, package=package)
    except DatasetError as error:
        raise _no_line(sample, error.what) from None
    shown = sample.input
    line: dict[str, Any] = {
        "id": sample.id,
        "input": shown if isinstance(shown, str) else [_text(sample, one) for one in shown],
        "target": sample.target,
    }
    if sample.choices is not None:
        line["choices"] = sample.choices
    if metadata:
        line["metadata"] = metadata
    if kinds:
        line["kinds"] = kinds
    return line | {"hash": question.hash}


def from_line(line: Mapping[str, Any], package: str) -> tuple[Sample, str]:
    """Makes the sample of a line, and the hash that its question had.

    Args:
        line: The line.
        package: The task's package; see `from_plain`.

    Raises:
        DatasetError: Metadata has an unknown kind.
        ValidationError: The line has another form.
    """
    from inspect_ai.dataset import Sample

    read = _Line.model_validate(dict(line))
    sample = Sample(
        id=read.id,
        input=read.input if isinstance(read.input, str) else _messages(read.input),
        target=read.target,
        choices=read.choices,
        metadata=from_plain(read.metadata, read.kinds, package=package) or None,
    )
    return sample, read.hash


def is_unchanged(sample: Sample, known: str) -> bool:
    """Whether a sample read from a line is the question that was written."""
    return question_hash(sample) == known


def _text(sample: Sample, message: ChatMessage) -> dict[str, str]:
    plain = isinstance(message.content, str) and not getattr(message, "tool_calls", None)
    if not plain or message.role not in get_args(Role):
        raise _no_line(sample, "it shows more than texts")
    return {"role": message.role, "content": message.text}


def _messages(read: list[_Message]) -> list[ChatMessage]:
    head = tuple((one.role, one.content) for one in read[:-1])
    return [*_head(head), *(message_of(one.role, one.content) for one in read[-1:])]


@lru_cache(maxsize=128)
def _head(messages: tuple[tuple[Role, str], ...]) -> tuple[ChatMessage, ...]:
    """The messages before a question: made once for all that share them, as a subject's do."""
    return tuple(message_of(role, text) for role, text in messages)


def _no_line(sample: Sample, why: str) -> DatasetError:
    return DatasetError(f"question {sample.id} can't be written as JSON lines: {why}")
