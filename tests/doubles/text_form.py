"""Requests and answers of `/v1/completions` in the form of chats, and back."""

from __future__ import annotations

import re
from typing import Any

LEAD = "ANSWER:"


def as_chat(asked: dict[str, Any]) -> dict[str, Any]:
    """The chat request that asks the same; one that is a chat already as it is."""
    if "prompt" not in asked:
        return asked
    made = {name: value for name, value in asked.items() if name not in {"prompt", "logprobs"}}
    if isinstance(asked["prompt"], list):
        text = asked["prompt"][0].rpartition(LEAD)[0] + LEAD
        return {**made, "messages": [{"role": "user", "content": text}]}
    if asked.get("logprobs"):
        made |= {"logprobs": True, "top_logprobs": asked["logprobs"]}
    return {**made, "messages": [{"role": "user", "content": asked["prompt"]}]}


def as_text(answered: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """VLLM's body of an answered completion: the model goes on where the prompt ends."""
    if isinstance(asked["prompt"], list):
        return _echoed(answered, asked)
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


def _echoed(answered: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """VLLM's echo of several prompts; the one that ends as the model answers is the likeliest."""
    said = answered["choices"][0]["message"]["content"] or ""
    choices = []
    for number, prompt in enumerate(asked["prompt"]):
        tokens = re.findall(r"\s*\S+|\s+$", prompt)
        odds = [None, *(-0.1 * (len(token) % 7) for token in tokens[1:])]
        odds[-1] = -0.25 if tokens[-1].strip() == said.removeprefix(LEAD).strip() else -3.0 - number
        logprobs = {
            "text_offset": [0] * len(tokens),
            "tokens": tokens,
            "token_logprobs": odds,
            "top_logprobs": [None, *({token: -0.1} for token in tokens[1:])],
        }
        text = {"index": number, "text": prompt, "logprobs": logprobs, "finish_reason": "length"}
        choices.append(text)
    return {**answered, "object": "text_completion", "choices": choices}
