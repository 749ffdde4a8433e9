"""A model's thought told apart from its answer.

A reasoning model writes its thought before its answer. Some servers send the two apart, others
send one text with marks in it. A thought is never read for an answer: it weighs choices that
the model then drops.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_TAGS: Final = ("think", "thinking", "thought", "reasoning", "seed:think")

_PAIRS: Final = (
    *((rf"<\s*{tag}\s*>", rf"<\s*/\s*{tag}\s*>") for tag in _TAGS),
    (r"\[THINK\]", r"\[/THINK\]"),
    ("◁think▷", "◁/think▷"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (r"<\|channel>thought\b", r"<channel\|>"),
)
"""What begins a thought and what ends it. The end alone marks a thought, too: chat templates
write the beginning themselves, so that it stands in the prompt and not in the answer."""

_HARMONY: Final = (
    r"<\|channel\|>\s*(?:analysis|commentary)[^<]*<\|message\|>|\A\s*analysis(?=[A-Z])",
    r"<\|end\|>(?:\s*<\|start\|>\s*assistant)?|assistant\s*final(?=\W|[A-Z])",
)
"""gpt-oss's channels, with their special tokens and (where the server left those out) without.
Their end means nothing where no thought began."""

_FRAME: Final = re.compile(
    r"<\|start\|>\s*assistant|<\|channel\|>\s*final[^<]*<\|message\|>"
    r"|<\|(?:return|end)\|>|<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_solution\|>"
)
"""What frames an answer that follows a thought."""

_ALL: Final = (*_PAIRS, _HARMONY)
_MARK: Final = re.compile(
    "|".join(f"(?P<o{at}>{begin})|(?P<c{at}>{end})" for at, (begin, end) in enumerate(_ALL)),
    re.IGNORECASE,
)
_HINTS: Final = ("<", "[", "◁", "analysis")
"""Each mark holds one of these, so that most texts need no search."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A model's text, its thought set aside.

    Attributes:
        text: What is left to be read; the whole text where it holds no thought.
        thought: The thought, without its marks.
        unfinished: The text ends inside a thought.
        unopened: A thought ends in the text that began in the prompt.
    """

    text: str
    thought: str = ""
    unfinished: bool = False
    unopened: bool = False


def set_aside(text: str) -> Spoken:
    """Sets the thoughts in a text aside.

    Args:
        text: A model's text as the server sent it.
    """
    if not any(hint in text for hint in _HINTS):
        return Spoken(text)
    said: list[str] = []
    thoughts: list[str] = []
    inside: int | None = None
    unopened = False
    at = 0
    for mark in _MARK.finditer(text):
        name = str(mark.lastgroup)
        begins, pair = name[0] == "o", int(name[1:])
        part = text[at : mark.start()]
        if inside is not None:
            if begins or pair != inside:
                continue
            thoughts.append(part)
            inside = None
        elif begins:
            said.append(part)
            inside = pair
        elif pair == len(_PAIRS):
            continue
        else:
            # All that was said until here belongs to a thought that began before it.
            thoughts.append("".join([*said, part]))
            said.clear()
            unopened = True
        at = mark.end()
    if not thoughts and inside is None:
        return Spoken(text)
    (said if inside is None else thoughts).append(text[at:])
    left = _FRAME.sub("", "".join(said)).strip()
    return Spoken(
        left, "\n".join(filter(None, map(str.strip, thoughts))), inside is not None, unopened
    )


def holds_thought(text: str) -> bool:
    """Whether a text holds a thought, finished or not."""
    spoken = set_aside(text)
    return bool(spoken.thought) or spoken.unfinished or spoken.unopened
