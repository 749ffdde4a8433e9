"""A stand-in server with adapters: loaded and listed as vLLM does, each with answers of its own.

A prompt that holds a mark such as `(key C)` is answered right by the base at nine prompts in ten.
An adapter is wrong at one in 36 of these, and right at one in four of the others: it loses and
gains 2.5 % each. One whose name holds `lost` is wrong at one more in seven.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from zlib import crc32

from perf.stand_in import ANSWERS, MODEL, Busy, Pace, StandIn, response

_KEY: Final = re.compile(rb"\(key ([A-D])\)")
_NAME: Final = re.compile(rb'"model": ?"([^"]*)"')
_TOKENS: Final = ("one", "two", "three", "four")
_ROOT: Final = "/srv/models/smollm2"


class WithAdapters(StandIn):
    """One connection.

    Args:
        pace: When a request is answered.
        busy: Counts the requests of all connections.
        adapters: Name to path of the adapters that are loaded; shared by all connections.
    """

    def __init__(self, pace: Pace, busy: Busy, adapters: dict[str, str]) -> None:
        super().__init__(pace, busy)
        self._adapters = adapters

    def chat(self, body: bytes) -> bytes:
        """The response to a chat request."""
        found = _NAME.search(body)
        model = found[1].decode() if found else ""
        if model != MODEL and model not in self._adapters:
            return _refused(f"The model `{model}` does not exist.", "404 Not Found")
        if b'"logprobs"' in body:
            return _with_odds(model, str(json.loads(body)["messages"][-1]["content"]))
        asked = body[body.rfind(b'"content"') :]
        key = _KEY.search(asked)
        if key is None:
            return super().chat(body)
        right = b"ABCD".index(key[1])
        draw = crc32(asked)
        base = right if draw % 10 else right + 1
        if model == MODEL:
            return ANSWERS[base % 4]
        # CRCs of related texts are related; the product is not.
        own = (draw ^ crc32(model.encode())) * 0x9E3779B97F4A7C15 % 2**64 >> 32
        if base != right:
            return ANSWERS[right if own % 4 == 0 else base % 4]
        moved = own % 36 == 0 or ("lost" in model and (own >> 8) % 7 == 0)
        return ANSWERS[(right + moved) % 4]

    def other(self, request: bytes, body: bytes) -> bytes:
        """The response to another request: the list of models, or a change of the adapters."""
        if request == b"GET /v1/models":
            return response({"object": "list", "data": list(map(self._entry, self._names()))})
        if request == b"POST /v1/load_lora_adapter":
            asked = json.loads(body)
            name = asked["lora_name"]
            if name in self._adapters:
                return _refused(f"The lora adapter '{name}' has already been loaded.")
            self._adapters[name] = asked["lora_path"]
            return response(f"Success: LoRA adapter '{name}' added successfully.")
        if request == b"POST /v1/unload_lora_adapter":
            self._adapters.pop(json.loads(body)["lora_name"], None)
            return response("Success: the LoRA adapter was removed successfully.")
        return super().other(request, body)

    def _names(self) -> list[str]:
        return [MODEL, *self._adapters]

    def _entry(self, name: str) -> dict[str, Any]:
        base = name == MODEL
        return {
            "id": name,
            "object": "model",
            "created": 1795471600,
            "owned_by": "vllm",
            "root": _ROOT if base else self._adapters[name],
            "parent": None if base else MODEL,
            "max_model_len": 2048 if base else None,
        }


def _refused(message: str, status: str = "400 Bad Request") -> bytes:
    return response({"error": {"message": message, "type": "BadRequestError"}}, status)


def _with_odds(model: str, prompt: str) -> bytes:
    """An answer with log-probabilities, those of each model its own."""
    content = []
    for token in _TOKENS:
        top = []
        for rank, one in enumerate((token, f"{token}s", f"{token}?")):
            own = crc32(f"{prompt} {one}".encode()) % 1000 / 1000
            pull = 0.0 if model == MODEL else crc32(f"{model} {one}".encode()) % 1000 / 3000
            top.append({"token": one, "logprob": -0.5 - 2.0 * rank - own - pull, "bytes": None})
        content.append({**top[0], "top_logprobs": top})
    message = {"role": "assistant", "content": " ".join(_TOKENS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 4, "total_tokens": 104}
    return response(
        {
            "id": "chatcmpl-stand-in",
            "object": "chat.completion",
            "created": 1795471600,
            "model": model,
            "choices": [{**choice, "logprobs": {"content": content}}],
            "usage": usage,
        }
    )
