"""Messages of a conversation, as Inspect has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage

Role = Literal["system", "user", "assistant"]
"""Who a message is from."""


def message_of(role: Role, text: str) -> ChatMessage:
    """Makes a message that is a text."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    if role == "system":
        return ChatMessageSystem(content=text)
    return ChatMessageUser(content=text) if role == "user" else ChatMessageAssistant(content=text)
