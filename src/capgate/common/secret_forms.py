"""What a secret looks like: by the name that it stands under, or by the form of its own.

Two readers need it. Redaction looks through any text and must leave ordinary words alone. The
checks of files that people write refuse a literal secret, so there a shorter beginning is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_WORDS: Final = r"api[_-]?key|key|token|secret|password|passwd"
"""The words by which a name says that its value is secret."""

_VARIABLE: Final = re.compile(
    rf"(^|_)({_WORDS}|pass|pgpassword|credentials?|webhook|dsn|alert)(_|$|url|id$)", re.IGNORECASE
)
_OPEN_VARIABLE: Final = re.compile(r"_(ENV|FILE|PATH|DIR|NAME|LIMIT)$", re.IGNORECASE)
"""Variables that name a secret's place or size, not the secret."""

_FILE_KEY: Final = re.compile(rf"(^|[_-])({_WORDS}|authorization)$", re.IGNORECASE)

PARAMETER: Final = (
    r"(?:[A-Za-z0-9_-]{0,40}(?:token|secret|password|passwd|signature|credential|api[_-]?key)"
    r"[A-Za-z0-9_-]{0,40}|key|sig|auth|pwd|sv|code)"
)
"""Pattern of a URL parameter's name whose value is secret."""


class _Token(NamedTuple):
    """The form of a service's tokens.

    Attributes:
        start: Pattern of their beginning.
        needles: One of these stands in the lower case of every text that holds such a token.
        rest: Pattern of what follows, in any text.
        in_file: The same in a file that a person writes.
    """

    start: str
    needles: tuple[str, ...]
    rest: str
    in_file: str = r"[\w.-]{8,}"


_TOKENS: Final = (
    _Token("sk-", ("sk-",), r"[\w-]{16,}"),
    _Token("xai-", ("xai-",), "[A-Za-z0-9]{20,}"),
    _Token("pplx-", ("pplx-",), "[A-Za-z0-9]{20,}"),
    _Token("nvapi[-_]", ("nvapi-", "nvapi_"), r"[\w-]{20,}"),
    # `hf_transfer` is a package's name.
    _Token("hf_", ("hf_",), "[A-Za-z0-9]{16,}", r"(?=[A-Za-z]*\d)[A-Za-z0-9]{8,}"),
    _Token("gsk_", ("gsk_",), r"\w{20,}"),
    _Token("gh[opsru]_", ("gho_", "ghp_", "ghs_", "ghr_", "ghu_"), r"\w{20,}"),
    _Token("github_pat_", ("github_pat_",), r"\w{20,}"),
    _Token("glpat-", ("glpat-",), r"[\w-]{16,}"),
    _Token("xox[abprs]-", ("xox",), "[A-Za-z0-9-]{10,}"),
    _Token("AKIA", ("akia",), "[0-9A-Z]{16,}"),
    _Token("AIza", ("aiza",), r"[\w-]{30,}"),
)

_JWT: Final = r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"

TOKEN_NEEDLES: Final = (*(needle for token in _TOKENS for needle in token.needles), "eyj")
"""A text without one of these in its lower case holds no token."""

TOKEN: Final = re.compile(
    "(?a:"
    + f"(?<![A-Za-z0-9])(?:{'|'.join(token.start + token.rest for token in _TOKENS)})"
    # These may read on to the end of a long line, so they begin at one place of a run only. The
    # second is the beginning of a token, where a text was shortened.
    + rf"|(?<![\w.-])(?:{_JWT}"
    + rf"|(?:{'|'.join(token.start for token in _TOKENS)}|eyJ)[\w.-]{{2,}}+(?=…)))"
)
"""A known service's token, in any text."""


def _token_hints() -> Iterator[bytes]:
    # What begins with the sign in which many beginnings end is looked for once for all of them.
    for sign in "-_":
        starts = [token.start for token in _TOKENS if sign in token.start]
        found = "|".join(rf"(?<={start}){_hint_after(start)}" for start in starts)
        yield f"{sign}(?:{found})".encode()
    for token in _TOKENS:
        if token.start.isalpha():
            yield (token.start + _hint_after(token.start)).encode()
    yield rb"eyJ(?<![\w.-]eyJ)(?:[\w-]{8,}+\.|[\w.-]{2,}+\xe2\x80\xa6)"


def _hint_after(start: str) -> str:
    # The place before the beginning is looked at last.
    return (
        rf"(?:(?<![A-Za-z0-9]{start})[\w-]{{10}}"
        rf"|(?<![\w.-]{start})[\w.-]{{2,}}+\xe2\x80\xa6)"
    )


TOKEN_HINTS: Final = tuple(_token_hints())
"""Patterns; UTF-8 in which none of them is found holds no token."""

BEARER: Final = r"\bbearer\s+(?=\S*\d)"
"""Pattern of what stands before a token in a header; needs `re.IGNORECASE`."""

_TOKEN_IN_FILE: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    + "|".join(token.start + token.in_file for token in _TOKENS)
    + rf"|(?i:{BEARER})[\w.~+/-]{{8,}})"
)


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable of that name holds a secret."""
    return bool(_VARIABLE.search(name)) and not _OPEN_VARIABLE.search(name)


def looks_secret(key: str, value: object) -> bool:
    """Whether a value in a person's file, or its key, is a literal secret.

    Args:
        key: What the value stands under: a key, or the flag before it in a command line.
        value: Any plain value.
    """
    if holds_token(key):
        return True
    if not isinstance(value, str):
        return False
    named = bool(_FILE_KEY.search(key)) and not (key.startswith("-") and value.startswith("-"))
    return named or holds_token(value)


def holds_token(text: str) -> bool:
    """Whether a text of a person's file holds what begins as a known service's token does."""
    return bool(_TOKEN_IN_FILE.search(text))


def without_tokens(text: str) -> str:
    """A text without what begins as a known service's token does."""
    return _TOKEN_IN_FILE.sub("[a secret]", text)
