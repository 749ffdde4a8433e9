"""What real servers send, verbatim where a real one was asked (vLLM 0.32).

OpenRouter's and OpenAI's error forms follow their documentation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Reply:
    """One scripted response.

    Attributes:
        status: HTTP status.
        body: A JSON value, or the very bytes.
        headers: Further headers.
        kind: `Content-Type`.
        delay: Seconds before it is sent.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    delay: float = 0.0

    async def __call__(self, _request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
        """Sends it."""
        if self.delay:
            await asyncio.sleep(self.delay)
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return web.Response(
            status=self.status, body=body, headers=self.headers, content_type=self.kind
        )


class Said(str):
    """What a model wrote, with what a server tells beside the text.

    Attributes:
        cut_off: Whether the token limit ended it.
        thought: Its thought, where the server sends that apart.
    """

    cut_off: bool
    thought: str

    def __new__(cls, text: str, *, cut_off: bool = False, thought: str = "") -> Said:
        """Makes one."""
        made = super().__new__(cls, text)
        made.cut_off, made.thought = cut_off, thought
        return made


def completion(text: str | None, **changes: object) -> dict[str, Any]:
    """Returns vLLM's body of an answered chat request; `changes` go into its choice."""
    said = text if isinstance(text, Said) else Said(text or "")
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": said.thought or None,
        },
        "logprobs": None,
        "finish_reason": "length" if said.cut_off else "stop",
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    } | changes
    return {
        "id": "chatcmpl-a7ee3bb1163e2e29",
        "object": "chat.completion",
        "created": 1795471601,
        "model": "smollm2",
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": "vllm-0.32.0-02cb656d",
        "usage": {
            "prompt_tokens": 57,
            "total_tokens": 62,
            "completion_tokens": 5,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def _error(status: int, message: str, kind: str, param: str | None = None) -> Reply:
    error = {"message": message, "type": kind, "param": param, "code": status}
    return Reply(status, {"error": error})


LOGPROBS = {
    "content": [
        {
            "token": "A",
            "logprob": -1.160706639289856,
            "bytes": [65],
            "top_logprobs": [
                {"token": "A", "logprob": -1.160706639289856, "bytes": [65]},
                {"token": "D", "logprob": -2.1607065200805664, "bytes": [68]},
                {"token": "The", "logprob": -3.0357065200805664, "bytes": [84, 104, 101]},
            ],
        },
        {
            "token": ")",
            "logprob": -0.10973093658685684,
            "bytes": [41],
            "top_logprobs": [{"token": ")", "logprob": -0.10973093658685684, "bytes": [41]}],
        },
    ]
}

# vLLM
UNAUTHORIZED = Reply(401, {"error": "Unauthorized"})
NO_MODEL = _error(
    404,
    "The model `lora-a` does not exist. Valid aliases: smollm2.",
    "NotFoundError",
    "model",
)
NO_TEMPLATE = _error(
    400,
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a"
    " chat template if the tokenizer does not define one.",
    "BadRequestError",
)
NO_ROUTE = Reply(404, {"detail": "Not Found"})
NO_METHOD = Reply(405, {"detail": "Method Not Allowed"})
PROMPT_TOO_LONG = _error(
    400,
    "This model's maximum context length is 2048 tokens. However, your prompt contains at least"
    " 2049 input tokens, which exceeds this limit even without any output tokens. Please reduce"
    " the length of the input prompt. (parameter=input_tokens, value=2049)",
    "BadRequestError",
    "input_tokens",
)
MAX_TOKENS_TOO_LONG = _error(
    400,
    "max_tokens=5000 cannot be greater than max_model_len=2048. Please request fewer output"
    " tokens. (parameter=max_tokens, value=5000)",
    "BadRequestError",
    "max_tokens",
)
BAD_TEMPERATURE = _error(
    400,
    "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)",
    "BadRequestError",
    "temperature",
)
ENGINE_DEAD = _error(
    500,
    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
    "InternalServerError",
)

# llama.cpp
LLAMA_CONTEXT = Reply(
    400,
    {
        "error": {
            "code": 400,
            "message": "the request exceeds the available context size, try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 3000,
            "n_ctx": 2048,
        }
    },
)
LLAMA_LOADING = Reply(
    503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
)

# OpenAI and OpenRouter
QUOTA = Reply(
    429,
    {
        "error": {
            "message": "You exceeded your current quota, please check your plan and billing"
            " details.",
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
        }
    },
)
RATE_LIMITED = Reply(
    429,
    {"error": {"code": 429, "message": "Rate limit exceeded: 20 requests per minute"}},
    {"Retry-After": "0.05"},
)
NO_CREDIT = Reply(
    402,
    {"error": {"code": 402, "message": "Insufficient credits. Add more to continue."}},
)
MODERATION = Reply(
    403,
    {
        "error": {
            "code": 403,
            "message": "Input was flagged by moderation",
            "metadata": {
                "reasons": ["violence", "self-harm"],
                "flagged_input": "How does…",
                "provider_name": "OpenAI",
                "model_slug": "openai/gpt-4o",
            },
        }
    },
)
FORBIDDEN = Reply(403, {"error": {"code": 403, "message": "This key may not use this model"}})
NO_ENDPOINTS = Reply(404, {"error": {"code": 404, "message": "No endpoints found for foo/bar."}})
TIMED_OUT = Reply(408, {"error": {"code": 408, "message": "Request timed out"}})
UPSTREAM_DOWN = Reply(
    502,
    {
        "error": {
            "code": 502,
            "message": "Provider returned error",
            "metadata": {"provider_name": "Lambda", "raw": "upstream connect error"},
        }
    },
)
ERROR_IN_200 = Reply(
    200, {"error": {"code": 503, "message": "No available model provider"}, "user_id": "u"}
)
CREDIT_IN_200 = Reply(200, {"error": {"code": 402, "message": "Insufficient credits"}})
ERROR_IN_CHOICE = Reply(
    200,
    completion(
        "",
        finish_reason="error",
        error={"code": 502, "message": "Upstream error from Lambda: worker died"},
    ),
)

# What stands between
HTML = Reply(
    200,
    b"<!DOCTYPE html><html><head><title>Sign in</title><style>p{}</style></head>"
    b"<body><p>Corporate proxy: please sign in</p></body></html>",
    kind="text/html",
)
BAD_GATEWAY = Reply(
    502,
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>",
    kind="text/html",
)
MOVED = Reply(301, b"", {"Location": "https://user:pw@host.example/v1/chat/completions?key=1"})
TRUNCATED = Reply(200, json.dumps(completion("ANSWER: A")).encode()[:200])
EMPTY_CHOICES = Reply(200, completion("x") | {"choices": []})
FILTERED = Reply(200, completion(None, finish_reason="content_filter"))


async def hang(_request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError


async def disconnect(request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
    """Closes the connection without a word, as a killed server does."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def break_off(request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
    """Promises 1000 bytes and closes after 10."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices"')
    assert request.transport is not None
    request.transport.abort()
    return response
