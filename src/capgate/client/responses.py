"""From a response that is no answer to the fault that a person is told about.

The words of known servers are looked at first (`known_causes`). Then the status decides: the first
row of `STATUSES` that fits is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from capgate.client.causes import known_cause
from capgate.client.faults import FaultText, Place, safe_url, seconds_to_wait, words_of
from capgate.client.known_causes import CAUSES, FIELDS
from capgate.common.errors import CauseName, RequestFault

_CONTEXT = re.compile(
    r"context (length|size|window)|context_length|max_model_len|exceed_context"
    r"|prompt is too long|input is too long|too many (input )?tokens|input_tokens"
    r"|`inputs`.{0,60}tokens|max_new_tokens|max_total_tokens|prompt contains \d+ tokens"
    r"|tokens? count exceeds|max_tokens is too large|at most \d+ completion tokens"
    r"|longer than .{0,40}context|maximum (model|sequence|input) length",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model.{0,120}(does not exist|not found|not exist|is not available)"
    r"|no endpoints found|not a valid model|no such model|unknown model",
    re.IGNORECASE | re.DOTALL,
)
_ROUTES: Final = (
    "/chat/completions",
    "/completions",
    "/models",
    "/load_lora_adapter",
    "/unload_lora_adapter",
)
_VERSION: Final = re.compile(r"/v\d\w*$")
_POLICY: Final = "content_policy_violation"
_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|per-day", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What is known of a response that is no answer.

    Attributes:
        place: Who was asked.
        said: The server's words.
        marks: The same, with the error's code and type.
        metadata: What a router says of its own accounts and providers.
    """

    place: Place
    said: str
    marks: str
    metadata: Mapping[str, Any]

    @property
    def has_key(self) -> bool:
        """Whether the request carried a key."""
        return bool(self.place.key)

    @property
    def names_source(self) -> bool:
        """Whether a router says whose limit was reached."""
        return bool(self.metadata.get("limit_source"))

    @property
    def over_budget_in_flight(self) -> bool:
        """Whether the requests in flight cost as much as the account allows."""
        return self.metadata.get("limit_source") == "openrouter_in_flight_budget"

    @property
    def moderated(self) -> bool:
        """Whether a filter refused the question."""
        reasons = self.metadata.get("reasons") or self.metadata.get("patterns")
        return bool(reasons) or self.metadata.get("error_type") == _POLICY

    @property
    def names_quota(self) -> bool:
        """Whether the words speak of a quota that is used up."""
        return bool(_QUOTA.search(self.marks))

    @property
    def names_provider(self) -> bool:
        """Whether the words are about a provider behind a router."""
        return bool(self.metadata) or "provider" in self.said.lower()

    @property
    def names_model(self) -> bool:
        """Whether the words say that there is no such model."""
        return bool(_NO_MODEL.search(self.marks))

    @property
    def names_context(self) -> bool:
        """Whether the words speak of the length of the context."""
        return bool(_CONTEXT.search(self.marks))


@dataclass(frozen=True, slots=True)
class _Row:
    """What a status means.

    Attributes:
        statuses: The statuses.
        text: The fault.
        when: Further condition; none where None.
    """

    statuses: Container[int]
    text: FaultText
    when: Callable[[_Refusal], bool] | None = None


_ASK_AGAIN_LATER: Final = "Raise the {limit} or wait for its renewal; asking again does not help"

_TOO_LONG: Final = FaultText(
    "context_too_long",
    "the request does not fit into the model's context",
    "Lower max_output_tokens, use the 0-shot task, or serve a longer context",
)

STATUSES: Final[tuple[_Row, ...]] = (
    _Row(
        {401},
        FaultText(
            "unauthorized",
            "the server does not accept the API key",
            "Check the variable that api_key_env names for this target",
        ),
        when=lambda refusal: refusal.has_key,
    ),
    _Row(
        {401},
        FaultText(
            "unauthorized",
            "the server asks for an API key",
            "Name the variable that holds the key in api_key_env of this target",
        ),
    ),
    _Row(
        {402},
        FaultText(
            "rate_limited",
            "the account's budget for requests in flight is full",
            "Lower max_connections for this target, or add credit",
        ),
        when=lambda refusal: refusal.over_budget_in_flight,
    ),
    _Row(
        {402},
        FaultText(
            "no_credit",
            "the account has no credit left",
            "Add credit with the provider, or use another key",
        ),
    ),
    _Row(
        {403},
        FaultText(
            "quota",
            "the key's or workspace's budget is spent",
            _ASK_AGAIN_LATER.format(limit="budget"),
        ),
        when=lambda refusal: refusal.names_source,
    ),
    _Row(
        {403},
        FaultText(
            "moderation",
            "moderation refused the question",
            "Choose another route for this model; the question was not answered",
        ),
        when=lambda refusal: refusal.moderated,
    ),
    _Row(
        {403},
        FaultText(
            "forbidden",
            "the key may not use this model or route",
            "Check the key's permissions with the server's operator",
        ),
    ),
    _Row(
        {429},
        FaultText(
            "quota",
            "the account's quota is used up",
            _ASK_AGAIN_LATER.format(limit="quota"),
        ),
        when=lambda refusal: refusal.names_quota,
    ),
    _Row(
        {429},
        FaultText(
            "rate_limited",
            "the server limits the rate of requests",
            "Lower max_connections for this target, or raise the rate limit",
        ),
    ),
    _Row(
        {408, 504},
        FaultText(
            "timeout",
            "the server gave up waiting",
            "The server is overloaded or stuck: lower max_connections, or look at its log",
        ),
    ),
    _Row(
        range(300, 400),
        FaultText(
            "redirected",
            "the server sends us elsewhere{where}",
            "Set base_url to the address that it redirects to",
        ),
    ),
    _Row(
        {502, 503},
        FaultText(
            "server_error",
            "no provider of the model gave an answer",
            "Wait, or widen the target's `route`: the provider is down or none fits it",
        ),
        when=lambda refusal: refusal.names_provider,
    ),
    _Row(
        range(500, 1000),
        FaultText(
            "server_error",
            "the server failed",
            "Look at the server's own log; a vLLM engine that died needs a restart",
        ),
    ),
    _Row(
        {400, 404},
        FaultText(
            "model_not_found",
            "the server does not serve the model {model}",
            "Compare model_name (or the adapter's name) with what GET /v1/models lists. Where it "
            "answers other requests, several servers share this address: load the model on each",
        ),
        when=lambda refusal: refusal.names_model,
    ),
    _Row({404, 405}, FaultText("not_found", "the server has no such route", "{route}")),
    _Row(
        {413},
        _TOO_LONG,
    ),
    _Row({400, 422}, _TOO_LONG, when=lambda refusal: refusal.names_context),
)
"""What statuses mean, the first row that fits."""

_NOT_ACCEPTED: Final = FaultText(
    "bad_request",
    "the server does not accept the request",
    "Check the target's extra_body and generation settings against its words",
)


def fault_of_response(
    place: Place,
    status: int,
    body: object,
    raw: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    code: int | None = None,
) -> RequestFault:
    """Returns the fault that a response of the server means.

    Args:
        place: Who was asked.
        status: The response's HTTP status.
        body: Its parsed JSON, or None.
        raw: Its body as it came.
        headers: Its headers.
        code: The status that an error inside a 200 stands for; it then decides.
    """
    refusal = _refusal(place, body, raw)
    means = status if code is None else code
    headers = headers or {}
    where = place.redact(safe_url(headers.get("Location", "")))
    name: CauseName = ""
    # What a router says of its own accounts and providers is told by `metadata`.
    known = None
    if not refusal.metadata or means in (400, 404, 422):
        known = known_cause(means, refusal.marks, CAUSES)
    text = next(
        (
            row.text
            for row in STATUSES
            if means in row.statuses and (row.when is None or row.when(refusal))
        ),
        None,
    )
    if known is None and text is None:
        known = known_cause(means, refusal.marks, FIELDS)
    if known is not None:
        text, name = FaultText(known.kind, known.what, place.redact(known.remedy)), known.name
    text = text or _NOT_ACCEPTED
    inside = "" if code is None else f" (error {code} inside a response)"
    fault = place.known(
        replace(text, what=f"{text.what}{inside}"),
        said=refusal.said,
        status=status,
        model=repr(place.model),
        where=f", to {where}" if where else "",
        route=_route_remedy(place.url),
    )
    fault.retry_after, fault.cause = seconds_to_wait(headers), name
    return fault


def _refusal(place: Place, body: object, raw: bytes) -> _Refusal:
    said = words_of(body, raw)
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return _Refusal(place, said, said, {})
    metadata = error.get("metadata")
    return _Refusal(
        place,
        said,
        f"{said} {error.get('code')} {error.get('type')}",
        metadata if isinstance(metadata, dict) else {},
    )


def _route_remedy(url: str) -> str:
    """What to do about a server that has no such route."""
    base = next((url.removesuffix(route) for route in _ROUTES if url.endswith(route)), url)
    if not _VERSION.search(base):
        return "Check base_url: for OpenAI-compatible servers it ends in /v1"
    if url.endswith("/models"):
        return "The server has no list of models: name the model in model_name as it serves it"
    return (
        "Check base_url's port and path: a server of another API may answer there, or a model "
        "without chat completions"
    )
