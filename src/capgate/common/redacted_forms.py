"""The forms of what redaction cuts out of any text: secrets that nobody has named, home folders.

Most texts have none. To look for a form's `needles` or `hints` tells that in a fraction of the
time of its pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from capgate.common.secret_forms import BEARER, PARAMETER, TOKEN, TOKEN_HINTS, TOKEN_NEEDLES

MARK: Final = "[redacted]"

# What was cut out already is no value, or its bracket would be left over.
_VALUE: Final = r"(?!\[(?:redacted|key)\])[^\s\"'<>&|`\\;,)}\]]+"

_SPACE: Final = rb"[\s\x1c-\x1f\x80-\xff]"
"""A byte of what a pattern of text takes for a space, or of a letter outside of ASCII.

One such letter is the sign for Kelvin, which is a capital k where case does not matter.
"""


class Form(NamedTuple):
    """What a secret or a home folder looks like.

    Attributes:
        needles: One of these stands, in lower case, in everything that has this form. To look for
            them takes a hundredth of the pattern's time.
        pattern: How it looks.
        instead: What stands in its place.
        in_line: Whether what has this form never reaches over the end of a line.
        hints: Patterns. UTF-8 in which none of them is found has none of it, and next to no other
            text has one. Each begins with letters, by which it is found a hundred times as fast as
            `pattern`.
        any_case: Whether `hints` are of the text in lower case.
    """

    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    instead: str
    hints: tuple[bytes, ...]
    in_line: bool = True
    any_case: bool = True

    def sub(self, text: str, lower: str) -> str:
        """`text` without it; `lower` is it in lower case."""
        needles = [needle for needle in self.needles if needle in lower]
        if not needles:
            return text
        # One character has a lower case of two, so that places in the two texts differ.
        if not self.in_line or len(lower) != len(text):
            return self.pattern.sub(self.instead, text)
        parts, end = [], 0
        for start, stop in sorted({line for one in needles for line in _lines_with(one, lower)}):
            parts += [text[end:start], self.pattern.sub(self.instead, text[start:stop])]
            end = stop
        return "".join([*parts, text[end:]])


def _lines_with(needle: str, text: str) -> Iterator[tuple[int, int]]:
    """Where the lines that hold a text begin and end."""
    at = text.find(needle)
    while at >= 0:
        start, stop = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        if stop < 0:
            stop = len(text)
        yield start, stop
        at = text.find(needle, stop)


# Every repetition that may start anywhere is bounded: a model's line can have a megabyte.
FORMS: Final = (
    # Authorization: Bearer x, "authorization": "Basic x", Proxy-Authorization: x
    Form(
        ("authorization",),
        re.compile(
            r"(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token)\s+)?+)" + _VALUE,
            re.IGNORECASE,
        ),
        rf"\1{MARK}",
        (rb"authorization[\"']?" + _SPACE + rb"*[:=]",),
        in_line=False,
    ),
    Form(
        ("api-key",),
        re.compile(r"(api-key[\"']?\s*[:=]\s*[\"']?)" + _VALUE, re.IGNORECASE),
        rf"\1{MARK}",
        (rb"api-(?:k|\xe2\x84\xaa)ey[\"']?" + _SPACE + rb"*[:=]",),
        in_line=False,
    ),
    Form(
        ("bearer",),
        re.compile(rf"({BEARER})[A-Za-z0-9._~+/=-]{{8,}}", re.IGNORECASE),
        rf"\1{MARK}",
        (rb"bearer" + _SPACE + rb"+(?=[^ \t-\r\x1c-\x1f]*[0-9\x80-\xff])",),
        in_line=False,
    ),
    # https://user:password@host, but not the user of a database whose password stands elsewhere
    Form(
        ("@",),
        re.compile(
            r"((?<![a-z0-9+.-])(?!postgres(?:ql)?://[^\s/?#@:%\"'<>]{1,63}@)"
            r"[a-z][a-z0-9+.-]{0,20}://)[^\s/?#@\"'<>]{1,500}@",
            re.IGNORECASE,
        ),
        rf"\1{MARK}@",
        (rb"://[^\s/?#@\"'<>]{1,2000}@",),
    ),
    # …?token=x&…
    Form(
        ("=",),
        re.compile(rf"([?&#]{PARAMETER}=){_VALUE}", re.IGNORECASE),
        rf"\1{MARK}",
        tuple(start + rb"[\w\x80-\xff-]{1,400}=" for start in (rb"\?", b"&", b"#")),
    ),
    # Webhooks carry their secret in the path.
    Form(
        ("hooks.slack.com", "discord", "webhook.office.com"),
        re.compile(
            r"(https?://(?:hooks\.slack\.com|[a-z.]{0,40}discord(?:app)?\.com/api/webhooks"
            r"|[a-z0-9.-]{0,80}webhook\.office\.com)/)" + _VALUE,
            re.IGNORECASE,
        ),
        rf"\1{MARK}",
        (
            rb"\.com/(?:(?<=slack\.com/)|(?<=slac\xe2\x84\xaa\.com/)|(?<=discord\.com/)"
            rb"|(?<=discordapp\.com/)|(?<=\.office\.com/))",
        ),
    ),
    Form(TOKEN_NEEDLES, TOKEN, MARK, TOKEN_HINTS, any_case=False),
)
HOMES: Final = Form(
    ("/home/", "users", "/root/"),
    re.compile(
        r"(?<![\w.~-])(?:/home/[^/\s\"'<>:;,)\]]+|/Users/[^/\s\"'<>:;,)\]]+|/root(?=/))"
        r"|\b[A-Za-z]:\\{1,2}Users\\{1,2}[^\\\s\"'<>:;,)\]]+"
    ),
    "~",
    (rb"/(?:home|Users|root)/", rb":\\{1,2}Users\\"),
    any_case=False,
)
NEEDLES: Final = tuple({needle for form in (*FORMS, HOMES) for needle in form.needles})
"""A text without one of these in its lower case has nothing of any form."""
