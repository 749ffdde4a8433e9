"""Requests and answers of `POST /completions`, by which base models without a chat template answer.

Callers write and read the form of chat completions; this module translates both ways. A request
with `CONTINUATIONS` asks how likely each of several texts is behind the messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from capgate.common.errors import ConfigError

PromptFormat = Literal["chat", "completion"]

ROUTES: Final[Mapping[PromptFormat, str]] = {
    "chat": "chat/completions",
    "completion": "completions",
}
"""The path of each format below the API's root."""

SEPARATOR: Final = "\n\n"
"""What stands between the messages in the text."""

CONTINUATIONS: Final = "continuations"
"""The member that lists the texts of which the likeliest is the answer; no server gets it."""

_OF_CHATS: Final = {"messages", "logprobs", "top_logprobs", CONTINUATIONS}


def text_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a completion that asks what a chat request asks.

    The prompt is the messages' texts in their order, without their roles, and with `SEPARATOR`
    between them. `logprobs` is the number of likeliest tokens. Of continuations, each is a prompt
    of its own, which the server echoes with its log-probabilities, and nothing is generated.

    Args:
        request: The chat request's JSON object.

    Raises:
        ConfigError: A message is more than a text.
    """
    prompt = SEPARATOR.join(map(text_of, request["messages"]))
    made = {
        ("prompt" if name == "messages" else name): (prompt if name == "messages" else value)
        for name, value in request.items()
        if name == "messages" or name not in _OF_CHATS
    }
    if CONTINUATIONS in request:
        prompts = [prompt + text for text in request[CONTINUATIONS]]
        made |= {"prompt": prompts, "echo": True, "max_tokens": 0, "logprobs": 1}
    elif request.get("logprobs"):
        made["logprobs"] = request.get("top_logprobs") or 1
    return made


def chat_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """A completion's choice in the form of a chat's; without a message where it has no text."""
    made = {name: value for name, value in choice.items() if name not in {"text", "message"}}
    if isinstance(choice.get("text"), str):
        made["message"] = {"role": "assistant", "content": choice["text"]}
    given = choice.get("logprobs")
    if isinstance(given, dict) and "content" not in given:
        made["logprobs"] = {"content": _places(given)}
    return made


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a chat message.

    Raises:
        ConfigError: It is more than a text.
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < len(parts):
        raise ConfigError(
            "its task sends the model more than texts, which no completion has",
            remedy="ask a target with prompt_format: chat",
        )
    return "".join(found)


def _places(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Log-probabilities as chats list them; those of completions are lists beside each other."""
    tokens, odds, top = (given.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list) or not isinstance(odds, list) or len(tokens) != len(odds):
        return []
    likeliest = top if isinstance(top, list) and len(top) == len(tokens) else [None] * len(tokens)
    return [
        {
            "token": token,
            "logprob": logprob,
            "top_logprobs": [
                {"token": other, "logprob": of_other}
                for other, of_other in (each.items() if isinstance(each, dict) else ())
            ],
        }
        for token, logprob, each in zip(tokens, odds, likeliest, strict=True)
    ]
