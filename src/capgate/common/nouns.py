"""What the groups of a benchmark's questions are called."""

from __future__ import annotations

from typing import Final, NamedTuple


class Nouns(NamedTuple):
    """What a benchmark's groups and their parents are called.

    Attributes:
        group: One group.
        parent: What several groups belong to.
    """

    group: str
    parent: str


SUBJECTS: Final = Nouns("subject", "domain")
"""MMLU's."""

GROUPS: Final = Nouns("group", "parent")
"""Those of every other benchmark."""
