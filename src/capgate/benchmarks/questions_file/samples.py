"""Questions of a file as Inspect's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capgate.benchmarks.messages import message_of
from capgate.benchmarks.questions import Question, question_hash

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample

    from capgate.benchmarks.questions_file.checked_rows import FileRow


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
        input=row.input
        if isinstance(row.input, str)
        else [message_of(role, text) for role, text in row.input],
        choices=list(row.choices) or None,
        target=row.target if isinstance(row.target, str) else list(row.target),
        metadata=dict(row.metadata),
    )
