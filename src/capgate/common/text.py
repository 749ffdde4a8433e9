"""Text from outside, made fit to show.

What a model or a server wrote is hostile input to a terminal: escape sequences can
rewrite the screen, and a line can be as long as it likes. To the log of a GitHub job `##[`
is a command, wherever in a line it stands.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

HEAD: Final = 16_384
"""Characters that are kept of the beginning of a long answer."""

TAIL: Final = 16_384
"""Characters that are kept of its end."""

_WHITE = re.compile(r"\s+")


_COMMAND = re.compile(r"##(?=(?:\[|vso\[|teamcity\[))", re.IGNORECASE)
_AT_THE_START = re.compile(r"^([^\S\n]*):(?=:)", re.MULTILINE)


_CLAUSE_ENDS: Final = re.compile(r"[.,;:?!]+(?=\s|$)|[\"“”]")


def inert(text: str) -> str:
    r"""Returns `text` with each `##[`, `##vso[` and `##teamcity[` as `\x23#…`: no command."""
    return _COMMAND.sub(r"\\x23#", text) if "##" in text else text


def harmless(text: str) -> str:
    r"""Returns `text` as a terminal or a job's log may show it: printable, and no command.

    As `printable`; and where a line begins with `::`, the first colon is written as `\x3a`.
    """
    text = printable(text)
    return _AT_THE_START.sub(r"\1\\x3a", text) if "::" in text else text


def printable(text: str) -> str:
    r"""Returns `text` with control and direction-changing characters shown as escapes.

    Line feeds and tabs stay; everything else in the Unicode categories Cc, Cf, Cs and Zl/Zp
    is written as `\xNN` or `\uNNNN`, and so is the first sign of `##[`.
    """
    text = inert(text)
    if text.isascii() and text.isprintable():
        return text
    out: list[str] = []
    for char in text:
        if char in "\n\t":
            out.append(char)
        elif unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            code = ord(char)
            if code < 0x100:
                out.append(f"\\x{code:02x}")
            elif code < 0x10000:
                out.append(f"\\u{code:04x}")
            else:
                out.append(f"\\U{code:08x}")
        else:
            out.append(char)
    return "".join(out)


def one_line(text: str, *, limit: int) -> str:
    """Returns `text` on one printable line of at most `limit` characters."""
    begins = text[: limit * 4]
    line = printable(_WHITE.sub(" ", begins).strip())
    whole = len(line) <= limit and begins == text
    return line if whole else line[: limit - 1] + "…"


def shortened(text: str) -> str:
    """Returns an answer's text as it is scored and kept: of a long one, its beginning and end.

    The line between them says how long it was. It ends a line and begins one, so that nothing
    can be read across it.
    """
    if len(text) <= HEAD + TAIL:
        return text
    left_out = len(text) - HEAD - TAIL
    between = f"…\n[{left_out:,} of {len(text):,} characters left out]\n…"
    return f"{text[:HEAD]}{between}{text[-TAIL:]}"


def quoted(text: str, *, mark: str = "│ ") -> str:
    """Returns `text` line by line behind a mark, fit for a terminal.

    So no line of it can pass for one of ours, nor begin a workflow command of GitHub's.
    """
    return "\n".join(mark + line for line in printable(text).split("\n"))


def json_text(value: Any, *, indent: int | None = None) -> str:  # noqa: ANN401 (any plain value)
    r"""Returns a plain value as JSON for a program, which is harmless to a log that shows it.

    A number that JSON has no form of is null.
    """
    try:
        text = json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=indent, allow_nan=False)
    # The marks can only stand inside a string.
    return _COMMAND.sub(r"\\u0023#", text).replace("\x7f", r"\u007f")


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def content_key(text: str, choices: Sequence[str]) -> str:
    """What two questions share where they are the same: words and choices, in any order."""
    return "\x1e".join([_plain_words(text), *sorted(map(_plain_words, choices))])


def _plain_words(text: str) -> str:
    # Signs and decimal points make a formula what it is; what ends a clause does not.
    return " ".join(_CLAUSE_ENDS.sub("", text.casefold()).split())


def format_dollars(amount: float) -> str:
    """An amount as people read it: two significant digits below a dollar."""
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    digits = 2
    while amount < 10**-digits * 10 and digits < 8:
        digits += 1
    return f"${amount:.{digits}f}"
