"""How a request bounds its answer: `max_tokens`, or the field that newer models take alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic_core import to_json

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]


class AnswerLimit:
    """The field for a server's models; what a server asked for is remembered for the process.

    Args:
        base_url: The API's root.
        field: What `max_tokens` is sent as until the server asks for the other field.
    """

    _asked_for: dict[tuple[str, str], MaxTokensField] = {}  # noqa: RUF012 (the process's own)

    def __init__(self, base_url: str, field: MaxTokensField) -> None:
        self._base_url = base_url
        self._field = field

    def field(self, model: str) -> MaxTokensField:
        """What `max_tokens` of a request to a model is sent as."""
        return self._asked_for.get((self._base_url, model), self._field)

    def change(self, model: str) -> MaxTokensField:
        """Sends the other field to a model from now on, as its server asked, and returns it."""
        self._asked_for[self._base_url, model] = "max_completion_tokens"
        return "max_completion_tokens"


def request_body(request: Mapping[str, Any], field: MaxTokensField) -> bytes:
    """A request's JSON, with its `max_tokens` under `field`."""
    if field == "max_tokens" or "max_tokens" not in request:
        return to_json(request)
    return to_json({field if name == "max_tokens" else name: request[name] for name in request})
