"""Requests and answers of `/v1/completions` in the form of chats, and back."""

from __future__ import annotations

from typing import Any

LEAD = "ANSWER:"


def as_chat(asked: dict[str, Any]) -> dict[str, Any]:
    """The chat request that asks the same; one that is a chat already as it is."""
    if "prompt" not in asked:
        return asked
    made = {name: value for name, value in asked.items() if name not in {"prompt", "logprobs"}}
    if asked.get("logprobs"):
        made |= {"logprobs": True, "top_logprobs": asked["logprobs"]}
    return {**made, "messages": [{"role": "user", "content": asked["prompt"]}]}


def as_text(answered: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """VLLM's body of an answered completion: the model goes on where the prompt ends."""
    (choice,) = answered["choices"]
    said = choice["message"]["content"] or ""
    if asked["prompt"].endswith(LEAD):
        said = said.removeprefix(LEAD)
    for end in asked.get("stop") or ():
        said = said.split(end)[0]
    content = (choice["logprobs"] or {}).get("content") or []
    logprobs = {
        "text_offset": [0] * len(content),
        "tokens": [place["token"] for place in content],
        "token_logprobs": [place["logprob"] for place in content],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in place["top_logprobs"]} for place in content
        ],
    }
    text = {
        "index": 0,
        "text": said,
        "logprobs": logprobs if content else None,
        "finish_reason": choice["finish_reason"],
        "stop_reason": None,
        "token_ids": None,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
    }
    return {**answered, "object": "text_completion", "choices": [text]}
