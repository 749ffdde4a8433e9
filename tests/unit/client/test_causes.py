"""The words by which known servers tell of known faults, and the remedy that each gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from tests.doubles.replies import Reply
from tests.doubles.server import Server, answer
from tests.unit.client.conftest import KEY, QUICK, REQUEST, Ask, client_of, fault_of_asking

from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import Completion


def error(status: int, message: str, **further: object) -> Reply:
    """OpenAI's form of an error."""
    return Reply(status, {"error": {"message": message, **further}})


OPENAI_MAX_TOKENS = error(
    400,
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead.",
    type="invalid_request_error",
    param="max_tokens",
    code="unsupported_parameter",
)
TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
    "chat template if the tokenizer does not define one."
)

# the reply, its kind, a piece of what happened, a piece of the remedy
KNOWN = {
    "OpenAI temperature": (
        error(
            400,
            "Unsupported value: 'temperature' does not support 0 with this model. Only the "
            "default (1) value is supported.",
        ),
        "bad_request",
        "temperature other than 1",
        "--temperature 1 ",
    ),
    "LiteLLM temperature": (
        error(
            400,
            "litellm.UnsupportedParamsError: gpt-5 models (including gpt-5-codex) don't support "
            "temperature=0.0. Only temperature=1 is supported.",
        ),
        "bad_request",
        "temperature other than 1",
        "--temperature 1 ",
    ),
    "Anthropic temperature": (
        error(400, "`temperature` may only be set to 1 when thinking is enabled."),
        "bad_request",
        "temperature other than 1",
        "--temperature 1 ",
    ),
    "Moonshot temperature": (
        error(400, "invalid temperature: only 1 is allowed for this model"),
        "bad_request",
        "temperature other than 1",
        "--temperature 1 ",
    ),
    "TGI temperature": (
        Reply(422, {"error": "Input validation error: `temperature` must be strictly positive"}),
        "bad_request",
        "a temperature of 0",
        "--temperature 0.01",
    ),
    "vLLM template": (error(400, TEMPLATE), "bad_request", "no chat template", "--chat-template"),
    "old vLLM template": (
        error(500, TEMPLATE),
        "bad_request",
        "no chat template",
        "--chat-template",
    ),
    "transformers template": (
        error(
            400,
            "Cannot use chat template functions because tokenizer.chat_template is not set and no "
            "template argument was passed!",
        ),
        "bad_request",
        "no chat template",
        "--chat-template",
    ),
    "TGI template": (
        Reply(422, {"error": "Template error: template not found", "error_type": "template_error"}),
        "bad_request",
        "no chat template",
        "--chat-template",
    ),
    "alternating roles": (
        error(400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        "bad_request",
        "does not accept the messages",
        "--chat-template",
    ),
    "OpenAI completions model": (
        error(
            404,
            "This is not a chat model and thus not supported in the v1/chat/completions endpoint. "
            "Did you mean to use v1/completions?",
        ),
        "bad_request",
        "not served for chat",
        "chat completions",
    ),
    "vLLM pooling model": (
        error(501, "The model does not support Chat Completions API"),
        "bad_request",
        "not served for chat",
        "chat completions",
    ),
    "Ollama embedding model": (
        error(400, '"nomic-embed-text" does not support chat'),
        "bad_request",
        "not served for chat",
        "chat completions",
    ),
    "vLLM log-probabilities": (
        error(
            400,
            "Requested sample logprobs of 50, which is greater than max allowed: 20 "
            "(parameter=logprobs, value=50)",
        ),
        "bad_request",
        "log-probabilities",
        "--max-logprobs",
    ),
    "no log-probabilities": (
        error(400, "Unsupported parameter: 'logprobs' is not supported with this model."),
        "bad_request",
        "log-probabilities",
        "take it out",
    ),
    "llama.cpp grammar": (
        error(400, "Failed to initialize samplers: failed to parse grammar"),
        "bad_request",
        "force the answer's form",
        "answer_format: free",
    ),
    "OpenAI field": (
        error(400, "Unrecognized request argument supplied: cache_prompt"),
        "bad_request",
        "the field cache_prompt",
        "Take cache_prompt out",
    ),
    "LiteLLM field": (
        error(400, "litellm.UnsupportedParamsError: x does not support parameters: ['seed']"),
        "bad_request",
        "the field seed",
        "Take seed out",
    ),
    "pydantic field": (
        error(
            422,
            "1 validation error: {'type': 'extra_forbidden', 'loc': ('body', 'structured'), "
            "'msg': 'Extra inputs are not permitted'}",
        ),
        "bad_request",
        "the field structured",
        "Take structured out",
    ),
    "DashScope thinking": (
        error(400, "parameter.enable_thinking must be set to false for non-streaming calls"),
        "bad_request",
        "streamed answers only",
        "enable_thinking: false",
    ),
    "nginx HTTPS": (
        Reply(400, b"<html>The plain HTTP request was sent to HTTPS port</html>", kind="text/html"),
        "tls",
        "speaks HTTPS",
        "https://",
    ),
    "OpenRouter data policy": (
        error(404, "No endpoints found matching your data policy (Free model training)."),
        "forbidden",
        "data policy",
        "privacy",
    ),
    "OpenRouter parameters": (
        error(404, "No endpoints found that can handle the requested parameters."),
        "bad_request",
        "all fields of the request",
        "`route`",
    ),
    "OpenRouter route": (
        error(404, "No allowed providers are available for the selected model."),
        "forbidden",
        "route leaves no provider",
        "`route`",
    ),
    "Azure filter": (
        error(
            400,
            "The response was filtered due to the prompt triggering Azure OpenAI's content "
            "management policy.",
            code="content_filter",
        ),
        "moderation",
        "moderation refused",
        "not answered",
    ),
    "Anthropic credit": (
        error(400, "Your credit balance is too low to access the Anthropic API."),
        "no_credit",
        "no credit",
        "Add credit",
    ),
    "LiteLLM budget": (
        error(400, "Budget has been exceeded! Current cost: 5.1, Max budget: 5.0"),
        "quota",
        "budget is spent",
        "Raise the budget",
    ),
    "gated model": (
        error(403, "Access to model meta-llama/Llama-3.1-8B is restricted and you are not in it."),
        "forbidden",
        "gated",
        "model's page",
    ),
    "LM Studio": (
        error(404, "No models loaded. Please load a model in the developer page."),
        "model_not_found",
        "no model loaded",
        "lms load",
    ),
    "Ollama": (
        error(404, 'model "llama3" not found, try pulling it first'),
        "model_not_found",
        "does not have the model",
        "ollama pull",
    ),
    "LiteLLM model": (
        error(400, "Invalid model name passed in model=mine. Call `/v1/models` to view models."),
        "model_not_found",
        "does not serve",
        "model_name",
    ),
    "Groq": (
        error(400, "The model `x` has been decommissioned and is no longer supported."),
        "model_not_found",
        "no longer offered",
        "successor",
    ),
    "SGLang adapter": (
        error(400, "LoRA adapter 'mine' is not loaded. Loaded adapters: []."),
        "model_not_found",
        "no such adapter",
        "--lora-paths",
    ),
    "TGI context": (
        Reply(
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
                "1024. Given: 900 `inputs` tokens and 512 `max_new_tokens`"
            },
        ),
        "context_too_long",
        "does not fit",
        "0-shot",
    ),
    "OpenAI answer length": (
        error(400, "max_tokens is too large: 9000. This model supports at most 4096 completion."),
        "context_too_long",
        "does not fit",
        "max_output_tokens",
    ),
    "old llama.cpp context": (
        error(500, "Input prompt is too big compared to KV size. Please try increasing KV size."),
        "context_too_long",
        "does not fit",
        "longer context",
    ),
    "nginx size": (
        Reply(413, b"<html><h1>413 Request Entity Too Large</h1></html>", kind="text/html"),
        "context_too_long",
        "larger than the server",
        "client_max_body_size",
    ),
    "a proxy's login": (Reply(407, b""), "forbidden", "wants a login", "HTTPS_PROXY"),
}
# the same, of faults that may pass
PASSING = {
    "memory": (
        error(500, "CUDA out of memory. Tried to allocate 2.00 GiB."),
        "server_error",
        "not enough memory",
        "--max-num-seqs",
    ),
    "engine": (
        error(500, "EngineCore encountered an issue. See stack trace (above)."),
        "server_error",
        "engine has died",
        "own log",
    ),
    "loading": (
        error(503, "Loading model"),
        "server_error",
        "still loading",
        "Wait until it is loaded",
    ),
    "proxy": (
        Reply(502, b"<html><h1>502 Bad Gateway</h1>nginx</html>", kind="text/html"),
        "server_error",
        "the server behind it does not",
        "behind the proxy",
    ),
    "envoy": (
        Reply(503, b"upstream connect error or disconnect/reset before headers", kind="text/plain"),
        "server_error",
        "the server behind it does not",
        "behind the proxy",
    ),
    "LiteLLM deployments": (
        error(503, "There are no healthy deployments for this model."),
        "server_error",
        "no working server",
        "gateway's log",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_cause_has_its_remedy(server: Server, ask: Ask, name: str) -> None:
    """A fault whose words name a known cause is told by that, after one request."""
    reply, kind, what, remedy = KNOWN[name]
    server.script(forever=reply)
    fault = fault_of_asking(ask)
    assert (fault.kind, len(server.chats)) == (kind, 1)
    assert what in fault.what
    assert remedy in fault.remedy


@pytest.mark.parametrize("name", PASSING)
def test_a_known_cause_that_may_pass(server: Server, ask: Ask, name: str) -> None:
    """A passing fault of a known cause is asked again and told by it."""
    reply, kind, what, remedy = PASSING[name]
    server.script(forever=reply)
    fault = fault_of_asking(ask, max_retries=1)
    assert (fault.kind, len(server.chats)) == (kind, 2)
    assert what in fault.what
    assert remedy in fault.remedy


def test_a_server_that_asks_for_a_key(server: Server) -> None:
    """Without any key configured, the remedy is to name one."""
    server.key = KEY
    with pytest.raises(Exception, match="asks for an API key") as caught:
        asyncio.run(_ask(Client(server.url, target="t", limits=ClientLimits(max_retries=0))))
    assert "api_key_env" in str(caught.value)


def test_max_completion_tokens_once(server: Server) -> None:
    """After the 400 that asks for it, that field is sent, by later clients from the start."""
    refused: list[dict[str, Any]] = []

    async def model(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if "max_tokens" in asked:
            refused.append(asked)
            return await OPENAI_MAX_TOKENS(request, asked)
        return await answer(f"ANSWER: A {asked['max_completion_tokens']}")(request, asked)

    server.script(forever=model)
    for _ in range(2):
        client = client_of(server.url)
        assert asyncio.run(_ask(client, max_tokens=7)).text == "ANSWER: A 7"
        assert client.answer_limit.field("lora-a") == "max_completion_tokens"
    assert len(refused) == 1
    assert len(server.chats) == 3


def test_a_server_that_asks_for_it_for_ever(server: Server) -> None:
    """A server that refuses the other field as well is asked twice, and its words are told."""
    server.script(forever=OPENAI_MAX_TOKENS)
    client = client_of(server.url)
    with pytest.raises(Exception, match="in place of max_tokens"):
        asyncio.run(_ask(client, max_tokens=7))
    assert len(server.chats) == 2


def test_max_completion_tokens_from_the_start(server: Server) -> None:
    """A client that is told so sends the field at once, and the remedy for a refusal says which."""
    limits = ClientLimits(**QUICK)  # type: ignore[arg-type]
    field = {"max_tokens_field": "max_completion_tokens"}
    client = Client(server.url, target="t", limits=limits, **field)  # type: ignore[arg-type]
    asyncio.run(_ask(client, max_tokens=7))
    assert json.dumps(server.chats[0].body).count("tokens") == 1
    assert server.chats[0].body["max_completion_tokens"] == 7
    said = "Unrecognized request argument supplied: max_completion_tokens"
    server.script(forever=error(400, said))
    with pytest.raises(Exception, match="Take max_tokens_field out"):
        asyncio.run(_ask(client, max_tokens=7))


async def _ask(client: Client, **fields: object) -> Completion:
    async with client:
        return await client.complete({**REQUEST, **fields})
