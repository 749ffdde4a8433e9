"""OpenRouter, as its documentation describes it: a real HTTP server under `/api/v1`.

It answers `chat/completions`, `models`, `models/{author}/{slug}/endpoints` and `key`, each
in the documented form, and charges what its prices say.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from tests.doubles.replies import Handler, Reply, completion
from tests.doubles.server import Answerer, Server, hashed_answer

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Provider:
    """Who serves a model.

    Attributes:
        name: As answers name it.
        tag: As routes name it.
        quantization: What it serves the model at.
        prompt: US dollars for each token of a prompt.
        completion: US dollars for each token of an answer.
    """

    name: str
    tag: str
    quantization: str = "unknown"
    prompt: float = 2.5e-6
    completion: float = 1e-5


OPENAI = Provider("OpenAI", "openai")
AZURE = Provider("Azure", "azure", prompt=2.75e-6)
DEEPINFRA = Provider("DeepInfra", "deepinfra/fp8", "fp8", 1e-7, 3e-7)
NOVITA = Provider("Novita", "novita/bf16", "bf16", 2e-7, 4e-7)

# The forms of its documentation; those that other servers share are in `replies`.
INVALID_KEY = Reply(401, {"error": {"code": 401, "message": "No auth credentials found"}})
IN_FLIGHT = Reply(
    402,
    {
        "error": {
            "code": 402,
            "message": "This request would exceed your available credits given your current"
            " in-flight requests. Retry after in-flight requests settle, or add credits.",
            "metadata": {
                "reason": "in_flight_budget_exhausted",
                "limit_source": "openrouter_in_flight_budget",
                "remedy_hint": "Retry after your in-flight requests settle",
            },
        }
    },
    {"Retry-After": "0.05"},
)
TOO_DEAR = Reply(
    402,
    {
        "error": {
            "code": 402,
            "message": "This request requires more credits, or fewer max_tokens.",
            "metadata": {
                "reason": "weight_exceeds_budget",
                "limit_source": "openrouter_credits",
                "remedy_hint": "Lower max_tokens or add credits",
            },
        }
    },
)
KEY_BUDGET = Reply(
    403,
    {
        "error": {
            "code": 403,
            "message": "Budget limit exceeded",
            "metadata": {"limit_source": "openrouter_key_limit", "limit_usd": 5},
        }
    },
)
GUARDRAIL = Reply(
    403,
    {
        "error": {
            "code": 403,
            "message": "Request blocked: prompt injection patterns detected",
            "metadata": {"patterns": ["ignore all previous instructions"]},
        }
    },
)
POLICY = Reply(
    403,
    {
        "error": {
            "code": 403,
            "message": "The content was flagged",
            "metadata": {"error_type": "content_policy_violation", "provider_code": "SAFETY"},
        }
    },
)
RATE_LIMITED = Reply(
    429,
    {
        "error": {
            "code": 429,
            "message": "Rate limit exceeded",
            "metadata": {"error_type": "rate_limit_exceeded", "provider_code": "rate_limited"},
        }
    },
    {"Retry-After": "0.05"},
)
FREE_DAY = Reply(
    429,
    {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day"}},
    {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0"},
)
OVERLOADED = Reply(
    503,
    {
        "error": {
            "code": 503,
            "message": "Provider returned error",
            "metadata": {"error_type": "provider_overloaded"},
        }
    },
    {"Retry-After": "0.05"},
)
NO_PROVIDER = Reply(
    503,
    {
        "error": {
            "code": 503,
            "message": "No available model provider that meets your routing requirements",
        }
    },
)
NOTHING = Reply(
    200,
    completion("", finish_reason=None)
    | {
        "provider": "DeepInfra",
        "usage": {"prompt_tokens": 57, "completion_tokens": 0, "total_tokens": 57, "cost": 0},
    },
)

Choose = Callable[[dict[str, Any]], Provider]


class OpenRouter(Server):
    """The double.

    Args:
        offers: Model's name to its providers, the first of which is the listed one.
        versions: Model's name to its permanent name.
        key: The key that it knows.
        answer: What a model writes to a request.
        latency: Seconds before an unscripted answer.
    """

    def __init__(
        self,
        offers: dict[str, tuple[Provider, ...]] | None = None,
        *,
        versions: dict[str, str] | None = None,
        key: str = KEY,
        answer: Answerer = hashed_answer,
        latency: float = 0.0,
    ) -> None:
        super().__init__(key=key, answer=answer, latency=latency)
        self.offers = offers or {
            "openai/gpt-4o": (OPENAI, AZURE),
            "anthropic/claude-sonnet-4": (Provider("Anthropic", "anthropic", "unknown", 3e-6),),
            "meta-llama/llama-3.1-8b-instruct": (DEEPINFRA, NOVITA),
        }
        self.versions = versions or {"openai/gpt-4o": "openai/gpt-4o-2024-08-06"}
        self.choose: Choose = self._first
        self.spent = 0.0
        self._scripts: dict[str, Iterator[Handler]] = {}
        self._lists: Iterator[Handler] = iter(())
        self.most_by_model: dict[str, int] = {}
        self._flying: dict[str, int] = {}

    @property
    def url(self) -> str:
        """The API's root."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    def script_model(self, model: str, *handlers: Handler, forever: Handler | None = None) -> None:
        """Answers the next chat requests for one model by `handlers`, one each."""
        rest = itertools.repeat(forever) if forever else ()
        self._scripts[model] = itertools.chain(handlers, rest)

    def script_lists(self, *handlers: Handler, forever: Handler | None = None) -> None:
        """Answers the next requests for its lists by `handlers`, one each."""
        self._lists = itertools.chain(handlers, itertools.repeat(forever) if forever else ())

    def charging(self, handler: Handler, cost: float | None = None) -> Handler:
        """Charges a request, what its answer would have cost if not `cost`, and does `handler`."""

        async def charge(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
            if cost is None:
                self.completion_of(asked, self.choose(asked))
            else:
                self.spent += cost
            return await handler(request, asked)

        return charge

    def empty(self, cost: float) -> Handler:
        """Charges a request, says so, and answers nothing."""

        async def nothing(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
            self.spent += cost
            usage = NOTHING.body["usage"] | {"cost": cost}
            return await Reply(200, NOTHING.body | {"usage": usage})(request, asked)

        return nothing

    def app(self) -> web.Application:
        """Returns the routes."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/api/v1/chat/completions", self.chat)
        app.router.add_get("/api/v1/models", self._models)
        app.router.add_get("/api/v1/models/{author}/{slug}/endpoints", self._endpoints)
        app.router.add_get("/api/v1/key", self._key)
        app.router.add_route("*", "/{rest:.*}", self._nothing)
        return app

    def _first(self, asked: dict[str, Any]) -> Provider:
        """The first provider that the request's route allows."""
        route = asked.get("provider") or {}
        for provider in self.offers[str(asked["model"]).partition(":")[0]]:
            names = {provider.name.lower(), provider.tag, provider.tag.partition("/")[0]}
            only = route.get("only")
            levels = route.get("quantizations")
            if only and not names & {str(name).lower() for name in only}:
                continue
            if levels and provider.quantization not in levels:
                continue
            return provider
        raise LookupError

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self._note(request, body)
        if self._refused(request):
            return await INVALID_KEY(request, body)
        model = str(body["model"])
        with self._lock:
            handler = next(self._scripts.get(model, iter(())), None) or next(self._script, None)
        self._flying[model] = self._flying.get(model, 0) + 1
        self.most_by_model[model] = max(self.most_by_model.get(model, 0), self._flying[model])
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if handler is not None:
                return await handler(request, body)
            if self.latency:
                await asyncio.sleep(self.latency)
            return await self.answering(request, body)
        finally:
            self._flying[model] -= 1
            self.in_flight -= 1

    async def answering(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        """A good answer, as a handler."""
        try:
            provider = self.choose(asked)
        except LookupError:
            return await NO_PROVIDER(request, asked)
        return web.json_response(self.completion_of(asked, provider))

    def completion_of(self, body: dict[str, Any], provider: Provider) -> dict[str, Any]:
        text = self.answer(body)
        prompt = sum(len(message["content"]) for message in body["messages"]) // 4
        tokens = min(len(text) // 2, int(body["max_tokens"]))
        cost = prompt * provider.prompt + tokens * provider.completion
        self.spent += cost
        return {
            "id": f"gen-{len(self.asked)}",
            "provider": provider.name,
            "model": body["model"],
            "object": "chat.completion",
            "created": 1795471601,
            "choices": [
                {
                    "logprobs": None,
                    "finish_reason": "stop",
                    "native_finish_reason": "stop",
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": text,
                        "refusal": None,
                        "reasoning": None,
                    },
                }
            ],
            "system_fingerprint": "fp_44709d6fcb",
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": tokens,
                "total_tokens": prompt + tokens,
                "cost": cost,
                "is_byok": False,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "cost_details": {"upstream_inference_cost": None},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }

    async def _models(self, request: web.Request) -> web.StreamResponse:
        """Lists the models; OpenRouter asks for no key there."""
        self._note(request)
        handler = next(self._lists, self.listing)
        return await handler(request, {})

    async def listing(self, _request: web.Request, _asked: dict[str, Any]) -> web.StreamResponse:
        """The list of models, as a handler."""
        data = [
            {
                "id": name,
                "canonical_slug": self.versions.get(name, name),
                "name": name,
                "created": 1795471600,
                "context_length": 1_000_000,
                "architecture": {"modality": "text->text", "tokenizer": "GPT"},
                "pricing": _pricing(providers[0]),
                "top_provider": {"context_length": 1_000_000, "is_moderated": True},
                "per_request_limits": None,
                "supported_parameters": ["max_tokens", "temperature"],
            }
            for name, providers in self.offers.items()
        ]
        return web.json_response({"data": data})

    async def _endpoints(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if handler := next(self._lists, None):
            return await handler(request, {})
        name = f"{request.match_info['author']}/{request.match_info['slug']}"
        if name not in self.offers:
            return web.json_response({"error": {"code": 404, "message": "Not found"}}, status=404)
        endpoints = [
            {
                "name": f"{provider.name} | {name}",
                "model_name": name,
                "context_length": 1_000_000,
                "pricing": _pricing(provider),
                "provider_name": provider.name,
                "tag": provider.tag,
                "quantization": provider.quantization,
                "max_completion_tokens": 16_384,
                "status": 0,
                "uptime_last_30m": 99.5,
            }
            for provider in self.offers[name]
        ]
        return web.json_response({"data": {"id": name, "name": name, "endpoints": endpoints}})

    async def _key(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if self._refused(request):
            return await INVALID_KEY(request, {})
        data = {
            "label": "sk-or-v1-012...def",
            "limit": 5,
            "limit_reset": None,
            "limit_remaining": 4.5,
            "usage": 0.5,
            "is_free_tier": False,
        }
        return web.json_response({"data": data})


def _pricing(provider: Provider) -> dict[str, str]:
    figures = {"prompt": provider.prompt, "completion": provider.completion, "request": 0}
    return {name: f"{value:.10f}".rstrip("0").rstrip(".") for name, value in figures.items()}
