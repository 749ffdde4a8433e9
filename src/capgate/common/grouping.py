"""Things put together by what they have in common, such as their subject."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar


class HasSubject(Protocol):
    """Something that belongs to a subject: a question, an answer, a row of the gate."""

    @property
    def subject(self) -> str:
        """The subject's name."""


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
S = TypeVar("S", bound=HasSubject)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Puts items together whose keys are equal.

    Args:
        items: The items.
        key: Takes an item, returns what it is grouped by.

    Returns:
        Key to its items, both in the order of `items`.
    """
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def by_subject(items: Iterable[S]) -> dict[str, list[S]]:
    """Puts items of the same subject together; subjects and items keep their order."""
    return grouped(items, lambda item: item.subject)
