"""Answers as the store keeps them, and the rows that they are kept in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from capgate.common.answers import Answer, AnswerState
from capgate.store.shard import Look

ANSWER_COLUMNS: Final = (
    "question, subject, state, choice, text, prompt_tokens, completion_tokens, seconds, margin, "
    "served_by, cost, finish_reason, cut_off, reasoning_tokens, endpoint"
)
_ANSWERS: Final = 15
"""How many they are."""

STORED: Final = f"{ANSWER_COLUMNS}, id, run, created, set_aside"
"""The columns of a stored answer."""

_ID: Final = _ANSWERS
_SET_ASIDE: Final = _ANSWERS + 3

COUNTS_NOWHERE: Final = 2
"""`set_aside` of an answer that does not count even in its own run. 1 is that of an answer which
counts there, and which no later run finds."""


@dataclass(frozen=True, slots=True)
class Context:
    """Which target an answer came from, and how it was asked for.

    Attributes:
        id: Its id in stores.
        fingerprint: Hash of the target's identity and generation settings.
        prompt: Hash of the prompt's form.
    """

    id: bytes
    fingerprint: str
    prompt: str


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer that is to be kept.

    Attributes:
        context: Which target it came from, and how it was asked for.
        answer: The answer.
        target: For whom it counts.
        look: In which look it counts.
        benchmark: For which benchmark it counts.
    """

    context: Context
    answer: Answer
    target: str
    look: Look
    benchmark: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer as the store keeps it.

    Attributes:
        id: Its id in stores.
        answer: The answer.
        run: The run that asked for it.
        created: When it came, Unix seconds.
        counts: Whether it counts already where it was looked for.
    """

    id: bytes
    answer: Answer
    run: str
    created: float = 0.0
    counts: bool = True


def distinct(rows: Iterable[Sequence[Any]], *, set_aside: int = 0) -> list[Sequence[Any]]:
    """Rows of `STORED`, each answer once, from the oldest to the newest.

    Args:
        rows: The rows.
        set_aside: How far an answer may be set aside; others are left out.
    """
    by_id: dict[bytes, Sequence[Any]] = {}
    for row in rows:
        known = by_id.get(row[_ID])
        if known is None or known[_SET_ASIDE] < row[_SET_ASIDE]:
            by_id[row[_ID]] = row
    return [by_id[one] for one in sorted(by_id) if by_id[one][_SET_ASIDE] <= set_aside]


def ids_of(rows: Iterable[Sequence[Any]]) -> list[bytes]:
    """The ids of rows of `STORED`."""
    return [row[_ID] for row in rows]


def stored_of(row: Sequence[Any], *, counting: Collection[bytes] | None = None) -> Stored:
    """The stored answer of a row of `STORED`.

    Args:
        row: The row.
        counting: The answers that count already where it was looked for; all where None.
    """
    counts = counting is None or row[_ID] in counting
    return Stored(row[_ID], answer_of(row), row[_ID + 1], row[_ID + 2], counts)


def answer_of(row: Sequence[Any]) -> Answer:
    """The answer of a row that begins with an answer's columns, which are in its fields' order."""
    question, subject, state, *rest = row[:_ANSWERS]
    *rest, cut_off, reasoning_tokens, endpoint = rest
    ended = (bool(cut_off), reasoning_tokens, endpoint)
    fields = (question, subject, AnswerState(state), *rest, *ended)
    return Answer(*fields)


def in_group(stored: Stored, group: str | None) -> Stored:
    """A stored answer in the group in which it counts; in its own where None."""
    if group is None or group == stored.answer.subject:
        return stored
    return replace(stored, answer=replace(stored.answer, subject=group))


def values_of(answer: Answer, text: Callable[[str], str]) -> tuple[Any, ...]:
    """The values of `ANSWER_COLUMNS` of an answer.

    Args:
        answer: The answer.
        text: Takes out of a text what must not be kept.
    """
    return (
        answer.question,
        answer.subject,
        answer.state.value,
        answer.choice,
        _encodable(text(answer.text)),
        answer.prompt_tokens,
        answer.completion_tokens,
        answer.seconds,
        answer.margin,
        _encodable(text(answer.served_by)),
        answer.cost,
        _encodable(text(answer.finish_reason)),
        int(answer.cut_off),
        answer.reasoning_tokens,
        _encodable(text(answer.endpoint)),
    )


def _encodable(text: str) -> str:
    r"""`text` with lone surrogates, which a cut-off emoji leaves, as `\udNNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
