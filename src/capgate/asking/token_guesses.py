"""How many tokens a request has: the most that it can have, and what is likely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json

_TEMPLATE_TOKENS: Final = 64
"""What a chat template may add to a prompt."""

_INSTRUCTION_CHARACTERS: Final = 360
"""What the task's instructions add to a question."""

_CHARACTERS_PER_TOKEN: Final = 4.0

_USUAL_ANSWER: Final = 8.0
"""Tokens of `ANSWER: X` and of its end."""


def most_tokens(request: Mapping[str, Any]) -> tuple[int, int]:
    """The most tokens that a request's prompt and answer can have.

    Args:
        request: The request's JSON object.
    """
    prompt = sum(_most_of_message(message) for message in request["messages"])
    if request.get("tools"):
        prompt += len(to_json(request["tools"]))
    return prompt + _TEMPLATE_TOKENS, int(request["max_tokens"])


def most_tokens_of_question(text: str, max_tokens: int) -> tuple[int, int]:
    """The most tokens that a question's prompt and answer can have.

    Args:
        text: The question with its choices, without the task's instructions.
        max_tokens: Most tokens of an answer.
    """
    return _most(text) + _INSTRUCTION_CHARACTERS + _TEMPLATE_TOKENS, max_tokens


def likely_tokens_of_question(text: str, max_tokens: int) -> tuple[float, float]:
    """The tokens that a question's prompt and answer are likely to have.

    Args:
        text: The question with its choices, without the task's instructions.
        max_tokens: Most tokens of an answer.
    """
    prompt = (len(text) + _INSTRUCTION_CHARACTERS) / _CHARACTERS_PER_TOKEN
    return prompt, min(_USUAL_ANSWER, max_tokens)


def _most_of_message(message: Mapping[str, Any]) -> int:
    if isinstance(message["content"], str) and not message.get("tool_calls"):
        return _most(message["content"])
    return len(to_json(message))


def _most(text: str) -> int:
    """A token has a byte at least."""
    return len(text.encode())
