"""Text from outside, made fit to show.

What a model or a server wrote is hostile input to a terminal: escape sequences can
rewrite the screen, and a line can be as long as it likes.
"""

from __future__ import annotations

import re
import unicodedata

_WHITE = re.compile(r"\s+")


def printable(text: str) -> str:
    r"""Returns `text` with control and direction-changing characters shown as escapes.

    Line feeds and tabs stay; everything else in the Unicode categories Cc, Cf, Cs and Zl/Zp
    is written as `\xNN` or `\uNNNN`.
    """
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
    line = printable(_WHITE.sub(" ", text[: limit * 4]).strip())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def quoted(text: str, *, mark: str = "│ ") -> str:
    """Returns `text` line by line behind a mark, fit for a terminal.

    So no line of it can pass for one of ours, nor begin a workflow command of GitHub's.
    """
    lines = printable(text).split("\n")
    return "\n".join(mark + line.replace("##[", "#\u2060#[") for line in lines)
