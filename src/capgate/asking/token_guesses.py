"""How many tokens a request has: the most that it can have, and what is likely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json

from capgate.common.errors import CapgateError

_TEMPLATE_TOKENS: Final = 64
"""What a chat template may add to a prompt."""

INSTRUCTION_CHARACTERS: Final = 360
"""What MMLU's instructions add to a question."""

_CHARACTERS_PER_TOKEN: Final = 4.0

USUAL_CHOICE: Final = 8.0
"""Tokens of `ANSWER: X` and of its end."""


def most_tokens(request: Mapping[str, Any]) -> tuple[int, int]:
    """The most tokens that a request's prompt and answer can have.

    Args:
        request: The request's JSON object.

    Raises:
        CapgateError: The request does not limit the answer.
    """
    prompt = sum(_most_of_message(message) for message in request["messages"])
    if request.get("tools"):
        prompt += len(to_json(request["tools"]))
    if request.get("max_tokens") is None:
        raise CapgateError(
            "its task sets no limit to an answer's tokens, so --max-cost can't be kept",
            remedy="give the benchmark's entry in config/benchmarks.yaml max_tokens",
        )
    return prompt + _TEMPLATE_TOKENS, int(request["max_tokens"])


def most_tokens_of_question(
    text: str, max_tokens: int, *, instructions: int = INSTRUCTION_CHARACTERS
) -> tuple[int, int]:
    """The most tokens that a question's prompt and answer can have.

    Args:
        text: The question with its choices, without the task's instructions.
        max_tokens: Most tokens of an answer.
        instructions: Bytes that the task's instructions and examples add at most.
    """
    return _most(text) + instructions + _TEMPLATE_TOKENS, max_tokens


def likely_tokens_of_question(
    text: str, answer: float, *, instructions: int = INSTRUCTION_CHARACTERS
) -> tuple[float, float]:
    """The tokens that a question's prompt and answer are likely to have.

    Args:
        text: The question with its choices, without the task's instructions.
        answer: Tokens that an answer is likely to have.
        instructions: Bytes that the task's instructions and examples add.
    """
    return (len(text) + instructions) / _CHARACTERS_PER_TOKEN, answer


def _most_of_message(message: Mapping[str, Any]) -> int:
    if isinstance(message["content"], str) and not message.get("tool_calls"):
        return _most(message["content"])
    return len(to_json(message))


def _most(text: str) -> int:
    """A token has a byte at least."""
    return len(text.encode())
