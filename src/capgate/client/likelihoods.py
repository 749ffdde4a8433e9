"""The likeliest of several texts, read from an echo of them with its log-probabilities.

A choice's score is the sum of the log-probabilities of its tokens from the first place at which
the choices differ. Before that place all of them are the same text, so that leaving it out changes
no comparison. What a server does not give becomes a fault here, never an answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from capgate.client.faults import FaultText, Place

_NOT_GIVEN: Final = FaultText(
    "bad_request",
    "the server does not give the log-likelihood of each choice: {missing}",
    "Take answer_by out of this target's entry, or ask a server that answers echo with "
    "log-probabilities, as vLLM does",
)
_BROKEN: Final = frozenset({"error", "abort", "content_filter"})


@dataclass(frozen=True, slots=True)
class _Echo:
    tokens: list[str]
    odds: list[object]


def likeliest(place: Place, answered: Sequence[object], asked: Mapping[str, str]) -> dict[str, Any]:
    """The likeliest choice in the form of a chat's choice.

    Its one place of log-probabilities lists all choices with their scores in nats, likeliest
    first. Of equal ones the first that was asked is the likeliest.

    Args:
        place: Who was asked, for faults.
        answered: The `choices` of the response.
        asked: Each choice's text, and the whole prompt that ends with it.

    Raises:
        RequestFault: The server did not give the log-probabilities of each prompt.
    """
    for choice in answered:
        if isinstance(choice, dict) and (
            choice.get("error") or choice.get("finish_reason") in _BROKEN
        ):
            return choice
    try:
        scores = _scores(answered, asked)
    except _MissingError as missing:
        raise place.known(_NOT_GIVEN, missing=str(missing), status=200) from None
    ranked = sorted(scores.items(), key=lambda one: -one[1])
    top = [{"token": text, "logprob": score} for text, score in ranked]
    return {
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": ranked[0][0]},
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
    }


class _MissingError(Exception):
    """What the response lacks."""


def _scores(answered: Sequence[object], asked: Mapping[str, str]) -> dict[str, float]:
    by_index: dict[object, Mapping[str, Any]] = {}
    for choice in answered:
        if isinstance(choice, dict) and isinstance(choice.get("index"), int):
            by_index[choice["index"]] = choice
    if len(answered) != len(asked) or set(by_index) != set(range(len(asked))):
        raise _MissingError(f"it answered {len(answered)} of {len(asked)} prompts")
    echoes = [_echo(by_index[number], text) for number, text in enumerate(asked.values())]
    begins = _common([one.tokens for one in echoes]) if len(echoes) > 1 else 0
    if any(len(one.tokens) <= begins for one in echoes):
        raise _MissingError("its tokens of the choices do not differ")
    if len(echoes) == 1:
        return dict.fromkeys(asked, 0.0)
    return {
        choice: math.fsum(map(_number, echo.odds[begins:]))
        for choice, echo in zip(asked, echoes, strict=True)
    }


def _echo(choice: Mapping[str, Any], prompt: str) -> _Echo:
    if choice.get("text") != prompt:
        raise _MissingError("it does not echo the prompt")
    given = choice.get("logprobs")
    given = given if isinstance(given, dict) else {}
    tokens, odds = given.get("tokens"), given.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(odds, list):
        raise _MissingError("it echoes the prompt without log-probabilities")
    if len(tokens) != len(odds) or not all(isinstance(token, str) for token in tokens):
        raise _MissingError("its tokens and log-probabilities do not belong together")
    return _Echo(tokens, odds)


def _common(lists: Sequence[Sequence[str]]) -> int:
    """How many tokens all lists begin with in common."""
    beside = zip(*lists, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, beside))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _MissingError("a choice's token has no log-probability")
    return float(value)
