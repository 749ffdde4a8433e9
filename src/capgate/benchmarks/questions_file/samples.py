"""Questions of a file as Inspect's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capgate.benchmarks.questions import Question, question_hash

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage

    from capgate.benchmarks.questions_file.checked_rows import FileRow, Message


def question_of(row: FileRow, group: str) -> Question:
    """Makes the question of a row.

    Args:
        row: The row.
        group: Its group; the benchmark's name where it has none.
    """
    sample = sample_of(row)
    known = question_hash(sample)
    if sample.id is None:
        sample.id = known[:16]
    return Question(known, group, sample)


def sample_of(row: FileRow) -> Sample:
    """The row as Inspect's sample; without an id where the row has none."""
    from inspect_ai.dataset import Sample

    return Sample(
        id=row.id,
        input=row.input if isinstance(row.input, str) else list(map(_message, row.input)),
        choices=list(row.choices) or None,
        target=row.target if isinstance(row.target, str) else list(row.target),
        metadata=dict(row.metadata),
    )


def _message(message: Message) -> ChatMessage:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    role, text = message
    if role == "system":
        return ChatMessageSystem(content=text)
    return ChatMessageUser(content=text) if role == "user" else ChatMessageAssistant(content=text)
