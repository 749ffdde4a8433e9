"""What servers say of well-known faults, what that means, and what to do about it.

One row for each cause, in the words of vLLM, SGLang, llama.cpp, LM Studio, Ollama, TGI, LiteLLM,
OpenAI, OpenRouter and others. The first row that fits is taken; where none does, the HTTP status
alone decides.
"""

from __future__ import annotations

import re
from typing import Final

from capgate.client.causes import Cause

_REFUSED: Final = range(400, 500)
_FAILED: Final = range(500, 600)
_ANY: Final = range(400, 600)


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


_FIELD: Final = r"(?P<name>(?!body\b)[A-Za-z_][\w-]{1,40})"

CAUSES: Final[tuple[Cause, ...]] = (
    Cause(
        _words(
            r"\b(?:use|with|by|set|try|provide)\W+(?:the )?(?:parameter )?\W*max_completion_tokens",
            r"(?:unsupported|unrecognized|unknown)[\w ]{0,40}\W+max_tokens\b",
            r"not support[\w ]{0,40}parameters?\W+max_tokens\b",
        ),
        "bad_request",
        "the model takes max_completion_tokens in place of max_tokens",
        "Set max_tokens_field: max_completion_tokens for this target",
        name="max_completion_tokens",
    ),
    Cause(
        _words(
            r"\b(?:use|with|by|set|try|provide)\W+(?:the )?(?:parameter )?\W*max_tokens\b",
            r"(?:unsupported|unrecognized|unknown|not permitted|extra_forbidden)"
            r".{0,80}max_completion_tokens",
            r"max_completion_tokens.{0,80}(?:unsupported|not (?:supported|permitted)|unknown)",
        ),
        "bad_request",
        "the server does not take max_completion_tokens",
        "Take max_tokens_field out of this target's entry",
    ),
    Cause(
        _words(
            r"temperature.{0,160}?only.{0,40}?(?<![\d.-])1(?:\.0+)?(?![\d.])",
            r"only.{0,20}temperature ?= ?1\b",
            r"temperature\W.{0,60}(?:not support|unsupported|n't support)",
            r"(?:unsupported|not support)[\w ]{0,40}\W+temperature\b",
        ),
        "bad_request",
        "the model accepts no temperature other than 1",
        "Run with --temperature 1 (a baseline must have been recorded with it, too)",
        name="temperature",
    ),
    Cause(
        _words(r"temperature.{0,60}(?:strictly|greater than 0|must be > ?0)"),
        "bad_request",
        "the server does not accept a temperature of 0",
        "Run with the least that it takes, such as --temperature 0.01",
    ),
    Cause(
        _words(
            r"chat.?template.{0,80}(?:no longer allowed|not (?:been )?(?:set|found|defined|"
            r"configured|available)|missing|does not (?:have|define|exist)|is (?:none|null))",
            r"(?:no|without a|must provide a|does not (?:have|define|provide) a) chat.?template",
            r"cannot use (?:apply_)?chat.?template",
            r"template error: template not found",
        ),
        "bad_request",
        "the model has no chat template",
        "Set prompt_format: completion for this target, or start vLLM with --chat-template FILE "
        "(docs/vllm.md, Base models)",
        statuses=_ANY,
    ),
    Cause(
        _words(
            r"conversation roles must alternate",
            r"system role (?:is )?not supported",
            r"only user(?:,| and).{0,30}roles are supported",
            r"unexpected role|roles must be",
        ),
        "bad_request",
        "the model's chat template does not accept the messages",
        "Start the server with a chat template that takes a single user message (vLLM: "
        "--chat-template FILE)",
    ),
    Cause(
        _words(
            r"not a chat model",
            r"not support (?:the )?chat\b",
            r"not support.{0,20}chat completions?",
            r"only (?:supported )?in v1/(?:responses|completions)",
            r"not (?:supported )?in (?:the )?v1/chat/completions",
            r"does not support (?:text )?generat",
        ),
        "bad_request",
        "the model is not served for chat",
        "Choose a model with chat completions, since capgate asks for those (docs/vllm.md, Base "
        "models)",
        statuses=_ANY,
    ),
    Cause(
        _words(r"enable_thinking.{0,80}(?:false|non-streaming)"),
        "bad_request",
        "the model thinks in streamed answers only",
        "Set extra_body: {enable_thinking: false} for this target",
    ),
    Cause(
        _words(
            r"only supports? stream",
            r"stream(?:ing)? (?:mode )?is required",
            r"set stream.{0,9}true",
        ),
        "bad_request",
        "the model gives streamed answers only",
        "Serve it where whole answers are given; capgate does not ask for streams",
    ),
    Cause(
        _words(
            r"logprobs?\b.{0,80}(?:greater than|not (?:been )?(?:supported|allowed|available|"
            r"enabled)|unsupported|exceed|at most|must be|less than|between|range)",
            r"(?:unsupported|not allowed|n't support|not support|not permitted|cannot).{0,80}"
            r"logprobs",
        ),
        "bad_request",
        "the server does not give so many log-probabilities",
        "Lower logprobs in this target's entry or take it out (vLLM allows more with "
        "--max-logprobs); an extra_body must not ask for them",
    ),
    Cause(
        _words(
            r"structured_outputs|guided_(?:json|regex|choice|grammar|decoding)|response_format",
            r"json_schema|xgrammar|lm-format-enforcer",
            r"(?:parse|invalid|compile|initialize|unsupported|supported).{0,40}grammar",
            r"grammar.{0,40}(?:not supported|unsupported|invalid|error)",
            r"failed to initialize samplers",
        ),
        "bad_request",
        "the server can't force the answer's form",
        "Set answer_format: free for this target, or take the constraint out of its extra_body",
    ),
    Cause(
        _words(r"plain http request was sent to https", r"http request to an https server"),
        "tls",
        "the server speaks HTTPS",
        "Write https:// in base_url",
        statuses=_REFUSED,
    ),
    Cause(
        _words(r""),
        "forbidden",
        "a proxy between wants a login",
        "Put it into HTTPS_PROXY, or name the server's host in NO_PROXY",
        statuses={407},
    ),
    Cause(
        _words(r"data policy|privacy settings|guardrail restrictions"),
        "forbidden",
        "the account's data policy leaves no provider for the model",
        "Allow one in the account's privacy settings (openrouter.ai/settings/privacy), or choose "
        "another model",
        statuses={400, 403, 404},
    ),
    Cause(
        _words(
            r"no (?:allowed )?providers? (?:are |is )?available", r"providers have been ignored"
        ),
        "forbidden",
        "the target's route leaves no provider of the model",
        "Widen `route` (only, ignore, quantizations) in this target's entry",
        statuses={400, 404},
    ),
    Cause(
        _words(
            r"no endpoints found.{0,40}(?:support|handle|match)",
        ),
        "bad_request",
        "no provider of the model takes all fields of the request",
        "Widen `route` in this target's entry, or take logprobs, answer_format and extra_body out",
        statuses={400, 404},
    ),
    Cause(
        _words(
            r"content management policy|responsibleai|content_filter|content_policy",
            r"flagged as potentially violating|(?:our|usage) polic(?:y|ies)|safety system",
        ),
        "moderation",
        "moderation refused the question",
        "Choose another route or provider for this model; the question was not answered",
        statuses={400, 403, 422, 451},
    ),
    Cause(
        _words(
            r"credit balance is too low",
            r"insufficient (?:balance|credits?|funds)",
            r"billing(?:_| )(?:hard_limit|hard limit|not active|not_active)",
            r"arrearage|overdue payment",
        ),
        "no_credit",
        "the account has no credit left",
        "Add credit with the provider, or use another key",
        statuses=_REFUSED,
    ),
    Cause(
        _words(r"budget has been exceeded|budget_exceeded|exceeded (?:your|the) (?:max )?budget"),
        "quota",
        "the key's budget is spent",
        "Raise the budget or wait for its renewal; asking again does not help",
        statuses=_REFUSED,
    ),
    Cause(
        _words(r"gated repo|access to model .{0,120}restricted|awaiting a review"),
        "forbidden",
        "the model is gated, and the server has no access to it",
        "Ask for access on the model's page, and start the server with a token that has it",
        statuses=_ANY,
    ),
    Cause(
        _words(r"(?:country|region).{0,40}not supported|unsupported_country"),
        "forbidden",
        "the provider does not serve this country",
        "Choose another provider or route",
        statuses={400, 403},
    ),
    Cause(
        _words(r"(?:key|token)\b.{0,30}\bexpired|expired.{0,30}(?:key|token)\b"),
        "unauthorized",
        "the API key has expired",
        "Make a new key, and set the variable that api_key_env names for this target",
        statuses={400, 401, 403},
    ),
    Cause(
        _words(r"not have access to|no access to (?:the )?model|not allowed to access model"),
        "model_not_found",
        "the key may not use this model, or there is none of that name",
        "Check model_name, and with the server's operator which models the key may use",
        statuses={400, 401, 403, 404},
    ),
    Cause(
        _words(r"decommissioned|(?:has been|is) (?:deprecated|retired|sunset|discontinued)"),
        "model_not_found",
        "the model is no longer offered",
        "Choose its successor in model_name",
        statuses={400, 404, 410},
    ),
    Cause(
        _words(
            r"no models? (?:is |are )?(?:currently )?loaded",
            r"model (?:is )?(?:not loaded|unloaded)",
        ),
        "model_not_found",
        "the server has no model loaded",
        "Load the model first (LM Studio: lms load NAME), or switch loading on demand on",
    ),
    Cause(
        _words(r"try pulling it first", r"model .{0,80}not found, try"),
        "model_not_found",
        "the server does not have the model",
        "Pull it first (ollama pull NAME), or correct model_name",
    ),
    Cause(
        _words(
            r"invalid model name passed",
            r"not supported by any provider",
            r"model_not_found|model_not_available",
        ),
        "model_not_found",
        "the server does not serve the model of that name",
        "Compare model_name (or the adapter's name) with what GET /v1/models lists",
        statuses=_ANY,
    ),
    Cause(
        _words(
            r"lora\b.{0,80}(?:not loaded|not found|is not enabled|cannot be found|not registered)",
            r"adapter\b.{0,80}(?:not loaded|not found|cannot be found|not registered)",
        ),
        "model_not_found",
        "the server has no such adapter loaded",
        "Load it first (vLLM: inference-server load-adapter; SGLang: --lora-paths NAME=DIR)",
    ),
    Cause(
        _words(r"no healthy (?:deployment|upstream)|no deployments? available"),
        "server_error",
        "the gateway has no working server behind this model",
        "Start the server behind it, or look at the gateway's log",
        statuses=_ANY,
    ),
    Cause(
        _words(
            r"loading (?:the )?model",
            r"model (?:\S+ )?is (?:currently |still )?(?:being )?load(?:ed|ing)",
            r"is currently loading|still loading",
        ),
        "server_error",
        "the server is still loading the model",
        "Wait until it is loaded and run again, or look at its log if it never is",
        statuses=_FAILED,
    ),
    Cause(
        _words(
            r"out of memory|outofmemoryerror|requires more system memory|insufficient memory",
            r"cuda error|cublas|failed to allocate|alloc(?:ation)? failed",
        ),
        "server_error",
        "the server has not enough memory for the request",
        "Lower max_connections for this target, or start the server with fewer requests at a time "
        "or a shorter context (vLLM: --max-num-seqs, --max-model-len)",
        statuses=_FAILED,
    ),
    Cause(
        _words(
            r"enginecore|enginedead|engine (?:is |has |process )?(?:dead|died)",
            r"background loop (?:has errored|is not running)",
            r"runner process (?:has terminated|no longer running)|failed to load model",
        ),
        "server_error",
        "the server's engine has died",
        "Look at the server's own log for the reason, and restart it",
        statuses=_FAILED,
    ),
    Cause(
        _words(
            r"no (?:free )?slots? available|slot unavailable|find a memory slot|overloaded",
            r"queue (?:is )?full|over capacity|server (?:is )?busy",
            r"too many (?:concurrent )?requests",
        ),
        "server_error",
        "the server has no room for so many requests at a time",
        "Lower max_connections for this target, or give the server more slots",
        statuses=_FAILED,
    ),
    Cause(
        _words(
            r"input prompt is too big|context shift is disabled|exceeds? the available context",
            r"longer than the model's context|context overflows?",
        ),
        "context_too_long",
        "the request does not fit into the model's context",
        "Lower max_output_tokens, use the 0-shot task, or serve a longer context",
        statuses=_ANY,
    ),
    Cause(
        _words(r"request entity too large|payload too large|body too large"),
        "context_too_long",
        "the request is larger than the server, or a proxy before it, allows",
        "Raise that limit (nginx: client_max_body_size), or use the 0-shot task",
        statuses={400, 413},
    ),
    Cause(
        _words(
            r"bad gateway|upstream connect error|upstream prematurely closed",
            r"connect(?:ion)? refused|error code: 52\d",
        ),
        "server_error",
        "a proxy answers, and the server behind it does not",
        "Start the server behind the proxy, or look at the proxy's log",
        statuses=_FAILED,
    ),
)


_TAKE_OUT: Final = "Take {name} out of this target's extra_body, or out of its entry"
_CHECK: Final = "Check {name} in this target's extra_body and generation settings against its words"

FIELDS: Final[tuple[Cause, ...]] = tuple(
    Cause(_words(pattern), "bad_request", "the server does not accept the field {name}", remedy)
    for pattern, remedy in (
        (
            r"(?:unrecognized|unknown|unsupported|unexpected|additional|invalid)[\w ]{0,40}"
            rf"(?:argument|parameter|field|property|properties|key)s?(?: supplied)?\W+{_FIELD}",
            _TAKE_OUT,
        ),
        (rf"not support (?:the )?(?:following )?parameters?\W+{_FIELD}", _TAKE_OUT),
        (rf"(?:extra_forbidden|not permitted).{{0,80}}\bbody\W+{_FIELD}", _TAKE_OUT),
        (rf"\bbody\W+{_FIELD}.{{0,120}}(?:extra_forbidden|not permitted)", _TAKE_OUT),
        (rf"\(parameter={_FIELD}", _CHECK),
        (rf"'loc': \W*body\W+{_FIELD}", _CHECK),
    )
)
"""Causes that name a field of the request; looked at after those that say more."""
