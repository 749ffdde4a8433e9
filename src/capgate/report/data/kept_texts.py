"""A benchmark's questions as the store keeps them, for the comparisons of all targets of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from capgate.common.grouping import grouped
from capgate.common.text import content_key
from capgate.store.answer_store import Store
from capgate.store.kept import KeptQuestion


class KeptTexts:
    """Reads each question once, however many targets were asked it.

    Args:
        store: The store.
        benchmark: The benchmark's name.
    """

    def __init__(self, store: Store, benchmark: str) -> None:
        self._store = store
        self._benchmark = benchmark
        self._known: dict[str, KeptQuestion | None] = {}
        self._keys: dict[str, str] = {}

    def of(self, questions: Sequence[str]) -> Mapping[str, KeptQuestion]:
        """Content hash to question, for those of `questions` that are kept."""
        new = [question for question in questions if question not in self._known]
        if new:
            self._known |= dict.fromkeys(new)
            self._known |= self._store.kept_questions(new, benchmark=self._benchmark)
        found = ((question, self._known[question]) for question in questions)
        return {question: kept for question, kept in found if kept is not None}

    def duplicated(self, questions: Iterable[KeptQuestion]) -> set[str]:
        """Those of some questions whose text and choices another of them has as well."""
        found: set[str] = set()
        # Few questions share a text, and choices are most of the work.
        for alike in grouped(questions, self._key).values():
            if len(alike) > 1:
                same = grouped(alike, lambda kept: content_key(kept.text, kept.choices))
                found.update(kept.hash for one in same.values() if len(one) > 1 for kept in one)
        return found

    def _key(self, question: KeptQuestion) -> str:
        known = self._keys.get(question.hash)
        if known is None:
            known = self._keys[question.hash] = content_key(question.text, ())
        return known
