"""Questions of one benchmark, cut into subjects, each known by the hash of its content."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from capgate.common.grouping import by_subject

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage


@dataclass(frozen=True, slots=True)
class Question:
    """One question as it is asked.

    Attributes:
        hash: SHA-256 of its content (messages, choices, key), 32 hex digits.
        subject: Its subject.
        sample: Inspect's form of it.
    """

    hash: str
    subject: str
    sample: Sample


@dataclass(frozen=True)
class QuestionSet:
    """All questions of one benchmark, from one source.

    Attributes:
        source: `hub`, `bundled` or the folder's path.
        revision: The hub's pinned commit, or `""`.
        shots: Few-shot examples before each question: 0 or 5.
        questions: In the order in which upstream's task asks them.
    """

    source: str
    revision: str
    shots: int
    questions: tuple[Question, ...]

    @cached_property
    def by_subject(self) -> dict[str, tuple[Question, ...]]:
        """Subject to its questions, in order; subjects alphabetically."""
        groups = by_subject(self.questions)
        return {subject: tuple(groups[subject]) for subject in sorted(groups)}

    @cached_property
    def digest(self) -> str:
        """Hash of the set's content, independent of order and source: 16 hex digits."""
        return digest_of_hashes(question.hash for question in self.questions)

    def describe(self) -> dict[str, Any]:
        """The set's identity as results record it."""
        return {
            "source": self.source,
            "revision": self.revision,
            "digest": self.digest,
            "questions": len(self.questions),
            "subjects": len(self.by_subject),
            "shots": self.shots,
        }

    def select(self, subjects: Sequence[str] | None = None, limit: int | None = None) -> Selection:
        """The questions of a run: of `subjects` (all of them by default), at most `limit` in all.

        A limit is spread over the subjects in proportion to their size, each subject
        that has room for one getting at least one; within a subject the questions
        with the smallest hashes are taken, so that a larger limit contains a smaller one.
        """
        pools = {s: self.by_subject[s] for s in subjects or self.by_subject if s in self.by_subject}
        total = sum(map(len, pools.values()))
        if limit is None or limit >= total:
            return Selection({s: tuple(pool) for s, pool in pools.items()})
        quotas = _quotas({s: len(pool) for s, pool in pools.items()}, limit)
        chosen: dict[str, tuple[Question, ...]] = {}
        for subject, pool in pools.items():
            kept = {q.hash for q in sorted(pool, key=lambda q: q.hash)[: quotas[subject]]}
            chosen[subject] = tuple(q for q in pool if q.hash in kept)
        return Selection(chosen)


@dataclass(frozen=True)
class Selection:
    """What a run asks: subject to its chosen questions (empty where a limit left none)."""

    by_subject: dict[str, tuple[Question, ...]]

    def __len__(self) -> int:
        return sum(map(len, self.by_subject.values()))

    def __iter__(self) -> Iterator[Question]:
        for questions in self.by_subject.values():
            yield from questions


def digest_of_hashes(hashes: Iterable[str]) -> str:
    """Hash of a set of questions, independent of their order: 16 hex digits.

    Args:
        hashes: The questions' own hashes.
    """
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()[:16]


def question_hash(sample: Sample) -> str:
    """Hash of a question's content: messages (with few-shot examples), choices and key.

    A question without a key has it in its metadata, as IFEval's have, so these are hashed as well;
    and so is what messages show beside texts.
    """
    from pydantic_core import to_json

    content: tuple[object, ...] = content_of(sample)
    shown = () if isinstance(sample.input, str) else _beyond_texts(sample.input)
    if shown or sample.target in ("", [], [""]):
        content = (*content, sample.metadata or None, shown)
    # A third of the time of `json`, whose UTF-8 without spaces it is.
    return hashlib.sha256(to_json(content, fallback=str)).hexdigest()[:32]


def _beyond_texts(messages: Iterable[ChatMessage]) -> list[dict[str, Any]]:
    """What messages show beside texts, such as pictures."""
    return [
        part.model_dump(mode="json", exclude_none=True)
        for message in messages
        if not isinstance(message.content, str)
        for part in message.content
        if part.type != "text"
    ]


def content_of(sample: Sample) -> tuple[str, str, list[str] | None, str | list[str]]:
    """Returns what makes a question: digest of the messages before it, text, choices, key."""
    if isinstance(sample.input, str):
        return "", sample.input, sample.choices, sample.target
    head = "\x1e".join(f"{message.role}\x1f{message.text}" for message in sample.input[:-1])
    return _digest(head), sample.input[-1].text, sample.choices, sample.target


def whole_text(sample: Sample) -> str:
    """The text of all messages of a question, and its choices."""
    asked = sample.input
    texts = [asked] if isinstance(asked, str) else [message.text for message in asked]
    return "\n".join([*texts, *(sample.choices or ())])


@lru_cache(maxsize=256)
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _quotas(sizes: dict[str, int], limit: int) -> dict[str, int]:
    """Shares `limit` over subjects in proportion, at least one each where it reaches.

    By Webster's divisor method: unlike one by remainders, it never takes a place from a
    subject because the limit grew. Ties and, where the limit is below the number of
    subjects, the subjects that get one are settled by hash, so that no alphabet's end is
    favoured.
    """
    places = sorted(
        ((place - 0.5) / size if place > 1 else 0.0, hashlib.sha256(s.encode()).digest(), s)
        for s, size in sizes.items()
        for place in range(1, size + 1)
    )
    given = Counter(subject for _, _, subject in places[:limit])
    return {subject: given[subject] for subject in sizes}
