"""What a model server's good answers hold, read strictly.

A 200 is not yet an answer: proxies send HTML with it, OpenRouter sends errors with it,
and a crash cuts it short. Everything else than an answer becomes a fault here, so that no
caller takes it for a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic_core import from_json

from capgate.client.faults import FaultText, Place, words_of
from capgate.client.likelihoods import likeliest
from capgate.client.responses import fault_of_response
from capgate.client.text_completions import PromptFormat, chat_choice
from capgate.client.tool_requests import ToolRequest, read_tool_requests
from capgate.common.errors import RequestFault
from capgate.common.thoughts import Spoken, set_aside

_CUT_OFF: Final = frozenset(
    {"length", "limit", "max_tokens", "max_output_tokens", "model_length", "token_limit"}
)
"""Servers' words for an answer that reached the token limit."""

_CUT_SHORT: Final = FaultText(
    "bad_json",
    "the answer is cut short or is broken JSON",
    "The server or something between closed early: look at its log",
)
_NO_JSON: Final = FaultText(
    "not_json",
    "what answered is not a model server",
    "Check base_url: a proxy or web page answers there",
)
_NO_LIST: Final = FaultText(
    "not_json",
    "what answered lists no models",
    "Check base_url: for OpenAI-compatible servers it ends in /v1",
)
_NO_CHOICES: Final = FaultText(
    "empty_choices",
    "the answer holds no choices",
    "The server answered with nothing to read: look at its log",
)
_NO_MESSAGE: Final = FaultText(
    "empty_choices",
    "the answer's choice holds no chat message",
    "Check base_url: a server of another API may answer there, or look at its log",
)
_NOTHING_GENERATED: Final = FaultText(
    "empty_choices",
    "the provider generated nothing",
    "Ask again later, or choose another route for this model",
)
_BROKEN_OFF: Final = FaultText(
    "server_error",
    "the server broke the answer off",
    "It was being stopped: look at its log, and start it again",
)
_KEPT_BACK: Final = FaultText(
    "moderation",
    "the provider's filter kept the answer back",
    "Choose another route for this model; the question was not answered",
)
_ERROR_INSIDE: Final = FaultText(
    "error_body",
    "the answer holds an error in place of a choice",
    "The provider failed behind a 200: choose another route, or look at its log",
)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probabilities at one generated token.

    Attributes:
        token: The token that was generated.
        logprob: Its natural-log probability.
        top: The likeliest tokens there with theirs, likeliest first as the server sends
            them.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One answered chat request.

    Attributes:
        text: The model's answer, its thought set aside; `""` where it wrote none.
        finish_reason: Why it stopped, in the server's word (`stop`, `length` …).
        prompt_tokens: Tokens the server counted in the prompt; 0 where it did not say.
        completion_tokens: Tokens the server counted in the answer.
        seconds: Wall time of the successful request alone.
        attempts: Requests made until then, the successful one included.
        model: The model that the server says answered.
        provider: The upstream provider that answered (OpenRouter), or `""`.
        cost: US dollars, where the server says.
        logprobs: One entry for each generated token, empty unless asked for.
        response_id: The server's id of the response.
        thought: What the model thought before its answer; never scored.
        unopened: The text holds the end of a thought that began in the prompt.
        reasoning_tokens: Tokens of the thought, where the server counts them apart.
        tool_requests: The tools that it asks to be called.
        endpoint: Which of the target's endpoints answered; `""` where the target has one.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    attempts: int
    model: str = ""
    provider: str = ""
    cost: float | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()
    response_id: str = ""
    thought: str = ""
    unopened: bool = False
    reasoning_tokens: int = 0
    tool_requests: tuple[ToolRequest, ...] = ()
    endpoint: str = ""

    @property
    def cut_off(self) -> bool:
        """Whether the token limit ended the answer, by the server's own word."""
        return self.finish_reason.lower() in _CUT_OFF

    @property
    def served_by(self) -> str:
        """Upstream provider and model, as an answer's row records them."""
        return f"{self.provider}/{self.model}" if self.provider else self.model


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One entry of `GET /v1/models`.

    Attributes:
        name: The name to ask it by.
        parent: Name of the base model, for a loaded adapter under vLLM.
        root: Path or name that the server loaded it from, where it says.
        context: Its context length in tokens, where the server says.
        owner: Who serves it, in the server's word (`vllm`, `llamacpp` …).
    """

    name: str
    parent: str = ""
    root: str = ""
    owner: str = ""
    context: int | None = None


def read_json(place: Place, status: int, raw: bytes) -> object:
    """Returns the parsed body of a good response.

    Raises:
        RequestFault: `bad_json` for JSON that was cut short, `not_json` for anything else.
    """
    try:
        body: object = from_json(raw)
    except ValueError as error:
        said = words_of(None, raw)
        # Only what began as an object can have been cut short; the rest never was JSON.
        if raw.lstrip()[:1] == b"{" or not raw.strip():
            raise place.known(_CUT_SHORT, said=said, status=status) from error
        raise place.known(_NO_JSON, said=said, status=status) from error
    return body


def read_completion(
    place: Place,
    status: int,
    raw: bytes,
    headers: Mapping[str, str],
    *,
    seconds: float,
    attempts: int,
    prompt_format: PromptFormat = "chat",
    prompts: Mapping[str, str] | None = None,
) -> Completion:
    """Reads the body of a 200 of `POST /chat/completions`, or of `POST /completions`.

    Of `prompts`, which end with choices, the likeliest choice is the answer.

    Raises:
        RequestFault: It holds no answer.
    """
    body = read_json(place, status, raw)
    if not isinstance(body, dict):
        body = {}
    choices = body.get("choices")
    choices = choices if isinstance(choices, list) else []
    choice = choices[0] if choices else None
    if not isinstance(choice, dict):
        if body.get("error"):
            raise _inner_fault(place, status, body, raw, headers)
        raise place.known(_NO_CHOICES, said=words_of(None, raw), status=status)
    if prompt_format == "completion":
        choice = likeliest(place, choices, prompts) if prompts else chat_choice(choice)
    reason = choice.get("finish_reason")
    if choice.get("error") or reason == "error" or body.get("error"):
        inner = choice if choice.get("error") else body
        raise _inner_fault(place, status, inner, raw, headers)
    if reason == "abort":
        # vLLM's for what a graceful stop cut off; the text may end anywhere.
        raise place.known(_BROKEN_OFF, said=words_of(None, raw), status=status)
    spoken = _spoken(choice.get("message"))
    text = None if spoken is None else spoken.text
    if not text and reason == "content_filter":
        raise place.known(_KEPT_BACK, said=words_of(None, raw), status=status)
    if spoken is None:
        raise place.known(_NO_MESSAGE, said=words_of(None, raw), status=status)
    usage = _fields(body.get("usage"))
    asked = choice["message"].get("tool_calls")
    silent = not spoken.text and not spoken.thought and not asked
    if body.get("provider") and silent and not _count(usage.get("completion_tokens")):
        # OpenRouter documents it of a model that is still being started.
        raise place.known(_NOTHING_GENERATED, said=words_of(None, raw), status=status)
    details = usage.get("completion_tokens_details")
    return Completion(
        text=spoken.text,
        finish_reason=reason if isinstance(reason, str) else "",
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        seconds=seconds,
        attempts=attempts,
        model=_string(body.get("model")),
        provider=_string(body.get("provider")),
        cost=_read_dollars(usage.get("cost")),
        logprobs=_logprobs(choice.get("logprobs")) if choice.get("logprobs") else (),
        response_id=_string(body.get("id")),
        thought=spoken.thought,
        unopened=spoken.unopened,
        reasoning_tokens=_count(details.get("reasoning_tokens"))
        if isinstance(details, dict)
        else 0,
        tool_requests=read_tool_requests(asked) if asked else (),
    )


def read_cost(raw: bytes) -> float | None:
    """The US dollars that a response says it cost; None where it does not say."""
    try:
        body: object = from_json(raw)
    except ValueError:
        return None
    usage = body.get("usage") if isinstance(body, dict) else None
    return _read_dollars(usage.get("cost")) if isinstance(usage, dict) else None


def read_models(place: Place, status: int, raw: bytes) -> list[ServedModel]:
    """Reads the body of a 200 of `GET /v1/models`.

    Raises:
        RequestFault: It is not a list of models.
    """
    body = read_json(place, status, raw)
    # Together's list stands by itself, everybody else's under "data".
    entries = body.get("data") if isinstance(body, dict) else body
    if not isinstance(entries, list):
        raise place.known(_NO_LIST, said=words_of(body, raw), status=status)
    models = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            continue
        meta = entry.get("meta")
        sizes = (
            entry.get("max_model_len"),
            entry.get("context_length"),
            meta.get("n_ctx") if isinstance(meta, dict) else None,
        )
        models.append(
            ServedModel(
                name=entry["id"],
                parent=_string(entry.get("parent")),
                root=_string(entry.get("root")),
                owner=_string(entry.get("owned_by")),
                context=next((_count(size) for size in sizes if _count(size)), None),
            )
        )
    return models


def _inner_fault(
    place: Place, status: int, body: dict[str, Any], raw: bytes, headers: Mapping[str, str]
) -> RequestFault:
    error = body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    if isinstance(code, int) and 400 <= code < 600:
        return fault_of_response(place, status, body, raw, headers, code=code)
    return place.known(_ERROR_INSIDE, said=words_of(body, raw), status=status)


_THOUGHT_FIELDS: Final = ("reasoning_content", "reasoning", "thinking")


def _spoken(message: object) -> Spoken | None:
    """What a choice's message says, its thought set aside; None where it is no chat message."""
    if not isinstance(message, dict) or not message:
        return None
    content = message.get("content")
    apart: list[str] = []
    if content is None:
        # A refusal is the model's own answer, though it chooses nothing.
        text = _string(message.get("refusal"))
    elif isinstance(content, list) and all(isinstance(part, dict) for part in content):
        text = "".join(_words(part) for part in content if not _is_thought(part))
        apart = [_words(part) for part in content if _is_thought(part)]
    elif isinstance(content, str):
        text = content
    else:
        return None
    # A server may send the same thought under two names.
    fields = dict.fromkeys(_string(message[name]) for name in _THOUGHT_FIELDS if name in message)
    inside = set_aside(text)
    if not fields and not apart:
        return inside
    thought = "\n".join(filter(None, [*fields, *apart, inside.thought]))
    return replace(inside, thought=thought)


def _is_thought(part: Mapping[str, Any]) -> bool:
    kind = _string(part.get("type")).lower()
    return "think" in kind or "reason" in kind


def _words(part: Mapping[str, Any]) -> str:
    """The text of one part of a message's content, whose own parts may be nested once."""
    for name in ("text", "thinking", "reasoning"):
        value = part.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return "".join(_string(one.get("text")) for one in value if isinstance(one, dict))
    return ""


def _fields(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _read_dollars(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _logprobs(value: object) -> tuple[TokenLogprobs, ...]:
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        return ()
    out = []
    for entry in content:
        pair = _pair(entry)
        if pair is None:
            return ()  # a gap would shift every later position
        top = entry.get("top_logprobs") if isinstance(entry, dict) else None
        pairs = [_pair(one) for one in top] if isinstance(top, list) else []
        out.append(TokenLogprobs(*pair, top=tuple(one for one in pairs if one is not None)))
    return tuple(out)


def _pair(entry: object) -> tuple[str, float] | None:
    if not isinstance(entry, dict):
        return None
    token, logprob = entry.get("token"), entry.get("logprob")
    if not isinstance(token, str) or isinstance(logprob, bool):
        return None
    if not isinstance(logprob, int | float) or math.isnan(logprob):
        return None
    return token, float(logprob)
