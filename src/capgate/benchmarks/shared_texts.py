"""Questions about one text: one of them is asked, since tests take questions for independent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from capgate.benchmarks.questions import Question
from capgate.common.errors import DatasetError

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample


def one_of_each_text(
    questions: Sequence[Question], benchmark: str, key: str | None, pattern: str | None
) -> tuple[Sequence[Question], str]:
    """Keeps, of the questions that share a text, the one with the smallest hash.

    Args:
        questions: All of them.
        benchmark: The benchmark's name, for messages.
        key: Key of a sample's metadata that holds the text, or a name for it.
        pattern: In its place a regular expression, whose first group finds the text.

    Returns:
        The questions that are asked, and what a person should know of the others; `""` for none.

    Raises:
        DatasetError: No question has such a text.
    """
    if key is None and pattern is None:
        return questions, ""
    shared = {one.hash: _text_of(one.sample, key, pattern) for one in questions}
    if not any(shared.values()):
        named = "cluster" if key is not None else "cluster_pattern"
        raise DatasetError(
            f"no question of {benchmark} has a text that `{named}` of its entry finds",
            remedy=f"correct `{named}`, or leave it out",
        )
    chosen: dict[str, str] = {}
    for digest, text in shared.items():
        chosen[text or digest] = min(digest, chosen.get(text or digest, digest))
    names = set(chosen.values())
    kept = [one for one in questions if one.hash in names]
    left = len(questions) - len(kept)
    told = (
        f"{left:,} of {len(questions):,} questions are left out, since one question about each "
        "text is asked"
    )
    return kept, told if left else ""


def _text_of(sample: Sample, key: str | None, pattern: str | None) -> str:
    if key is not None:
        value = (sample.metadata or {}).get(key)
        return "" if value is None else f"={value}"
    asked = sample.input if isinstance(sample.input, str) else sample.input[-1].text
    match = re.search(pattern or "", asked)
    return f"={match[1]}" if match else ""
