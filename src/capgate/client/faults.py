"""Classes of faults, who was asked, and what a server says: what all faults of requests share.

Nothing here does I/O. `responses`, `exchange` and `replies` hold the tables of known faults.
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

from capgate.common.errors import CauseName, FaultKind, RequestFault
from capgate.common.text import one_line

SAID_LIMIT: Final = 400
"""Characters of a server's own words that are shown."""

CONNECTION_KINDS: Final[frozenset[FaultKind]] = frozenset(
    {"refused", "unreachable", "dns", "disconnected"}
)
"""There was no response, and a bare connection tells whether the server is back."""

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
"""Every request of this target ends so, with any question."""

_READ: Final = 20_000
"""Characters (or bytes) of a server's own words that are looked at."""

_SECRET = "[key]"
_VALUE = re.compile(r"\{(\w+)\}")
# An element that is never closed takes the rest along, or each one would be searched for its end.
_TAG = re.compile(r"<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FaultText:
    """A known fault, in the words that a person reads.

    Attributes:
        kind: Class of the fault.
        what: What happened, as a clause; `{name}` stands for a value that `Place.known` is given.
        remedy: What to do about it; likewise.
    """

    kind: FaultKind
    what: str
    remedy: str


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

    def known(
        self,
        text: FaultText,
        *,
        said: str = "",
        status: int | None = None,
        **values: str,
    ) -> RequestFault:
        """Returns a known fault of this place; `values` are written into its words."""
        what, remedy = (
            # In one pass: a value may hold what looks like a place for another one.
            _VALUE.sub(lambda found: values.get(found[1], found[0]), words)
            for words in (text.what, text.remedy)
        )
        return self.fault(text.kind, what, remedy, said=said, status=status)

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
