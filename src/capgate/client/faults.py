"""From what a model server did to the fault that a person is told about.

Pure functions over statuses, bodies and exceptions: nothing here does I/O, so that each
form of failure that is known of a real server is one line of a table and one test.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from capgate.common.causes import FIELDS, Cause, known_cause
from capgate.common.errors import CauseName, FaultKind, RequestFault
from capgate.common.text import one_line

SAID_LIMIT: Final = 400
"""Characters of a server's own words that are shown."""

CONNECTION_KINDS: Final[frozenset[FaultKind]] = frozenset(
    {"refused", "unreachable", "dns", "disconnected"}
)
"""No response was had, and a bare connection tells whether the server is back."""

TRANSIENT_KINDS: Final[frozenset[FaultKind]] = CONNECTION_KINDS | {
    "timeout",
    "rate_limited",
    "server_error",
    "bad_json",
    "empty_choices",
    "error_body",
}
"""Worth another attempt."""

FINAL_KINDS: Final[frozenset[FaultKind]] = frozenset(
    {
        "tls",
        "unauthorized",
        "forbidden",
        "no_credit",
        "quota",
        "model_not_found",
        "not_found",
        "redirected",
        "not_json",
    }
)
"""Holds for every request of this target, whatever the question."""

_READ: Final = 20_000
"""Characters (or bytes) of a server's own words that are looked at."""

_SECRET = "[key]"
# An element that is never closed takes the rest along, or each one would be searched for its end.
_TAG = re.compile(r"<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)
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
_ROUTES: Final = ("/chat/completions", "/models", "/load_lora_adapter", "/unload_lora_adapter")
_VERSION: Final = re.compile(r"/v\d\w*$")
_POLICY: Final = "content_policy_violation"
_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|per-day", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """Who is asked, and what must never be shown.

    Attributes:
        target: Id of the target.
        url: The URL asked, without credentials or query.
        model: The model's served name.
        key: The API key, or `""`; it is cut out of everything that is shown.
    """

    target: str
    url: str
    model: str = ""
    key: str = ""

    def redact(self, text: str) -> str:
        """Returns `text` without the key, whole or in any piece of 12 characters or more."""
        key = self.key
        if not key:
            return text
        for form in {key, quote(key, safe="")}:
            if len(form) < 4:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", _SECRET, text)
            else:
                text = text.replace(form, _SECRET)
        piece = 12
        if len(key) > piece:
            pieces = {key[i : i + piece] for i in range(len(key) - piece + 1)}
            at = 0
            while at + piece <= len(text):
                if text[at : at + piece] in pieces:
                    end = at + piece
                    while end < len(text) and text[end - piece + 1 : end + 1] in pieces:
                        end += 1
                    text = text[:at] + _SECRET + text[end:]
                    at += len(_SECRET)
                else:
                    at += 1
        return text

    def fault(
        self,
        kind: FaultKind,
        what: str,
        remedy: str,
        *,
        said: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        cause: CauseName = "",
    ) -> RequestFault:
        """Returns a fault of this place; `said` is redacted, bounded and made printable."""
        # Redacted before it is cut: a cut through the key would leave a piece of it.
        words = one_line(self.redact(said[:_READ]), limit=SAID_LIMIT)
        return RequestFault(
            kind,
            what,
            target=self.target,
            url=self.url,
            status=status,
            said=words,
            remedy=remedy,
            retry_after=retry_after,
            cause=cause,
        )


def safe_url(url: str) -> str:
    """Returns `url` without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def seconds_to_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Returns the seconds that `Retry-After` asks for, or None where it asks for nothing.

    Args:
        headers: The response's headers, looked up as `Retry-After`.
        now: The present, for the HTTP-date form.
    """
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def words_of(body: object, raw: bytes = b"") -> str:
    """Returns what a server says in an error's body.

    Knows OpenAI's, vLLM's, llama.cpp's, FastAPI's and OpenRouter's forms; anything else
    is shown as text, HTML without its tags.

    Args:
        body: The parsed JSON, or None where it is not JSON.
        raw: The body as it came.
    """
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, str):
            return error
        if isinstance(error, dict):
            parts = [
                str(error[name])
                for name in ("message", "detail", "error_description")
                if error.get(name)
            ]
            metadata = error.get("metadata")
            if isinstance(metadata, dict):
                provider = metadata.get("provider_name")
                for name in ("reasons", "patterns"):
                    listed = metadata.get(name)
                    if isinstance(listed, list) and listed:
                        parts.append(f"{name}: " + ", ".join(map(str, listed)))
                if metadata.get("raw"):
                    parts.append(f"{provider or 'upstream'}: {metadata['raw']}")
                parts += [
                    str(metadata[name])
                    for name in ("provider_code", "remedy_hint")
                    if metadata.get(name)
                ]
            if parts:
                return "; ".join(parts)
    text = raw[:_READ].decode("utf-8", "replace")
    return _TAG.sub(" ", text) if text.lstrip()[:1] == "<" else text


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
    said = words_of(body, raw)
    error = body.get("error") if isinstance(body, dict) else None
    marks = said
    metadata: dict[str, object] = {}
    if isinstance(error, dict):
        marks = f"{said} {error.get('code')} {error.get('type')}"
        found = error.get("metadata")
        metadata = found if isinstance(found, dict) else {}
    source, sort = metadata.get("limit_source"), metadata.get("error_type")
    means = status if code is None else code
    headers = headers or {}
    wait = seconds_to_wait(headers)

    def made(kind: FaultKind, what: str, remedy: str) -> RequestFault:
        return place.fault(kind, what, remedy, said=said, status=status, retry_after=wait)

    def known(cause: Cause) -> RequestFault:
        what, remedy = f"{cause.what}{inside}", place.redact(cause.remedy)
        return place.fault(
            cause.kind,
            what,
            remedy,
            said=said,
            status=status,
            retry_after=wait,
            cause=cause.name,
        )

    inside = "" if code is None else f" (error {code} inside a response)"
    # What a router says of its own accounts and providers is told by `metadata`.
    if not metadata or means in (400, 404, 422):
        named = known_cause(means, marks)
        if named is not None:
            return known(named)
    match means:
        case 401:
            return made(
                "unauthorized",
                f"the server does not accept the API key{inside}"
                if place.key
                else f"the server asks for an API key{inside}",
                "Check the variable that api_key_env names for this target"
                if place.key
                else "Name the variable that holds the key in api_key_env of this target",
            )
        case 402 if source == "openrouter_in_flight_budget":
            return made(
                "rate_limited",
                f"the account's budget for requests in flight is full{inside}",
                "Lower max_connections for this target, or add credit",
            )
        case 402:
            return made(
                "no_credit",
                f"the account has no credit left{inside}",
                "Add credit with the provider, or use another key",
            )
        case 403 if source:
            return made(
                "quota",
                f"the key's or workspace's budget is spent{inside}",
                "Raise the budget or wait for its renewal; asking again does not help",
            )
        case 403 if any(map(metadata.get, ("reasons", "patterns"))) or sort == _POLICY:
            return made(
                "moderation",
                f"moderation refused the question{inside}",
                "Choose another route for this model; the question was not answered",
            )
        case 403:
            return made(
                "forbidden",
                f"the key may not use this model or route{inside}",
                "Check the key's permissions with the server's operator",
            )
        case 429 if _QUOTA.search(marks):
            return made(
                "quota",
                f"the account's quota is used up{inside}",
                "Raise the quota or wait for its renewal; asking again does not help",
            )
        case 429:
            return made(
                "rate_limited",
                f"the server limits the rate of requests{inside}",
                "Lower max_connections for this target, or raise the rate limit",
            )
        case 408 | 504:
            return made(
                "timeout",
                f"the server gave up waiting{inside}",
                "The server is overloaded or stuck: lower max_connections, or look at its log",
            )
        case _ if 300 <= means < 400:
            where = place.redact(safe_url(headers.get("Location", "")))
            return made(
                "redirected",
                f"the server sends us elsewhere{f', to {where}' if where else ''}",
                "Set base_url to the address that it redirects to",
            )
        case 502 | 503 if metadata or "provider" in said.lower():
            return made(
                "server_error",
                f"no provider of the model gave an answer{inside}",
                "Wait, or widen the target's `route`: the provider is down or none fits it",
            )
        case _ if means >= 500:
            return made(
                "server_error",
                f"the server failed{inside}",
                "Look at the server's own log; a vLLM engine that died needs a restart",
            )
    if _NO_MODEL.search(marks) and means in (400, 404):
        return made(
            "model_not_found",
            f"the server does not serve the model {place.model!r}{inside}",
            "Compare model_name (or the adapter's name) with what GET /v1/models lists. Where it "
            "answers other requests, several servers share this address: load the model on each",
        )
    if means in (404, 405):
        return made("not_found", f"the server has no such route{inside}", _route_remedy(place.url))
    if means in (400, 413, 422) and (means == 413 or _CONTEXT.search(marks)):
        return made(
            "context_too_long",
            f"the request does not fit into the model's context{inside}",
            "Lower max_output_tokens, use the 0-shot task, or serve a longer context",
        )
    field = known_cause(means, marks, FIELDS)
    if field is not None:
        return known(field)
    return made(
        "bad_request",
        f"the server does not accept the request{inside}",
        "Check the target's extra_body and generation settings against its words",
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
