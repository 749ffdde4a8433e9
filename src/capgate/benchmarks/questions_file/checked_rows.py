"""Rows of a file of questions, checked: what is asked, its choices, its key and its group.

A row has one of two forms, which a file may mix:

- Inspect's own: `input` (a text, or messages), `target` (a letter, a text or several texts),
  `choices`, `id`, `metadata`;
- the short one: `question`, `answer` (a letter, an index from 0, a choice's text; without choices
  a text, a number or several), `choices`, `id`, and the group under its own key.

Nothing here needs Inspect, so that tests can be listed quickly.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from capgate.benchmarks.group_names import group_name
from capgate.benchmarks.messages import Role
from capgate.benchmarks.questions_file.raw_rows import RawRow
from capgate.benchmarks.row_files import RowFaults, is_encodable, shown_value

LETTERS: Final = string.ascii_uppercase
"""The letters that Inspect gives to choices."""

_ROLES: Final[tuple[Role, ...]] = get_args(Role)

_RUNS_CODE: Final = ("sandbox", "files", "setup")

Message = tuple[Role, str]
"""A message's role and text."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One question of a file.

    Attributes:
        line: Where it stands: its line, or in a JSON list its number.
        id: The id that the file gives it; None for none.
        input: What is asked: a text, or messages of which the last is the user's.
        choices: The choices; empty where the answer is free text.
        target: The right choice's letter, or the text or texts that are right.
        group: Its group; `""` for none.
        metadata: What else the row says.
    """

    line: int
    id: int | str | None
    input: str | tuple[Message, ...]
    choices: tuple[str, ...]
    target: str | tuple[str, ...]
    group: str
    metadata: Mapping[str, Any] = field(compare=False)

    @property
    def asked(self) -> tuple[str | tuple[Message, ...], tuple[str, ...]]:
        """What a model gets to see."""
        return self.input, self.choices

    @property
    def targets(self) -> tuple[str, ...]:
        """The key, or all texts that are right."""
        return (self.target,) if isinstance(self.target, str) else self.target


def checked_row(raw: RawRow, path: Path, group_key: str, faults: RowFaults) -> FileRow | None:
    """Checks one row.

    Args:
        raw: The row.
        path: Its file.
        group_key: Under which key a row, or its metadata, holds the group.
        faults: Gets everything that is wrong with the row.

    Returns:
        The question; None where something is wrong with it.
    """
    row = raw.value
    if row is None and raw.is_text:
        return None
    if not isinstance(row, dict):
        faults.add(path, raw.line, f"expected an object, got {type(row).__name__}")
        return None
    check = _Check(path, raw.line, faults)
    if "input" in row or "target" in row:
        made = _of_inspect(row, check, group_key)
    else:
        made = _of_short_form(row, check, group_key, is_text=raw.is_text)
    return None if check.failed else made


class _Check:
    """Notes what is wrong with one row."""

    def __init__(self, path: Path, line: int, faults: RowFaults) -> None:
        self.line = line
        self.failed = False
        self._path = path
        self._faults = faults

    def fault(self, what: str) -> None:
        """Notes a fault."""
        self.failed = True
        self._faults.add(self._path, self.line, what)

    def text(self, key: str, value: object) -> str:
        """A text that is not empty."""
        if not isinstance(value, str):
            self.fault(f"{key} should be a text, got {shown_value(value)}")
        elif not value.strip():
            self.fault(f"{key} is empty")
        elif not is_encodable(value):
            self.fault(f"{key} holds half a character (a lone surrogate)")
        else:
            return value
        return ""

    def choices(self, value: object) -> tuple[str, ...]:
        """The choices; empty where there are none."""
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.fault(f"choices should be a list of texts, got {shown_value(value)}")
            return ()
        if not 2 <= len(value) <= len(LETTERS):
            self.fault(f"choices should be 2 to {len(LETTERS)}, got {len(value)}")
        seen: dict[str, int] = {}
        for at, choice in enumerate(value):
            name = f"choice {_letter(at)}"
            if not self.text(name, choice):
                continue
            if (first := seen.setdefault(choice.strip(), at)) != at:
                self.fault(f"{name} is the same as choice {_letter(first)}")
        return tuple(value)

    def group(self, key: str, value: object) -> str:
        """The group; `""` for none."""
        if value is None or value == "":
            return ""
        group = self.text(key, value)
        name = group_name(group)
        if group and (not name or not group.isprintable() or len(group) > 100):
            self.fault(f"{key} should be a short name, got {shown_value(value)}")
        return name

    def id(self, value: object) -> int | str | None:
        """The id; None for none."""
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            self.fault(f"id should be a text or a whole number, got {shown_value(value)}")
            return None
        return self.text("id", value) if isinstance(value, str) else value


def _of_inspect(row: Mapping[str, Any], check: _Check, group_key: str) -> FileRow:
    for key in _RUNS_CODE:
        if row.get(key):
            check.fault(f"{key} needs a sandbox; name an Inspect task for such questions (`task:`)")
    metadata = row.get("metadata")
    if metadata is None:
        metadata = {}
    elif not isinstance(metadata, dict):
        check.fault(f"metadata should be an object, got {shown_value(metadata)}")
        metadata = {}
    if row.get(group_key) is not None:
        metadata = {group_key: row[group_key], **metadata}
    choices = check.choices(row.get("choices"))
    target: str | tuple[str, ...]
    if choices:
        target = _letter_target(row.get("target"), choices, check)
    else:
        target = _texts("target", row.get("target"), check)
    return FileRow(
        line=check.line,
        id=check.id(row.get("id")),
        input=_input(row.get("input"), check),
        choices=choices,
        target=target,
        group=check.group(group_key, metadata.get(group_key)),
        metadata=metadata,
    )


def _of_short_form(
    row: Mapping[str, Any], check: _Check, group_key: str, *, is_text: bool
) -> FileRow:
    if "question" not in row and "answer" not in row:
        names = ", ".join(map(shown_value, list(row)[:8])) or "nothing"
        check.fault(
            f"expected `question` and `answer`, or Inspect's `input` and `target`; got {names}"
        )
    question = check.text("question", row.get("question"))
    choices = check.choices(row.get("choices"))
    answer = row.get("answer")
    target: str | tuple[str, ...]
    if choices:
        target = _answer_letter(answer, choices, check, is_text=is_text)
    else:
        target = _texts("answer", answer, check)
    known = {"question", "answer", "choices", "id"}
    return FileRow(
        line=check.line,
        id=check.id(row.get("id")),
        input=question,
        choices=choices,
        target=target,
        group=check.group(group_key, row.get(group_key)),
        metadata={key: value for key, value in row.items() if key not in known},
    )


def _input(value: object, check: _Check) -> str | tuple[Message, ...]:
    if not isinstance(value, list):
        return check.text("input", value)
    messages: list[Message] = []
    for at, one in enumerate(value, start=1):
        if not isinstance(one, dict):
            check.fault(f"message {at} of input should be an object, got {shown_value(one)}")
            continue
        role = next((role for role in _ROLES if role == one.get("role")), None)
        if role is None:
            known = ", ".join(_ROLES)
            check.fault(f"message {at} of input: role should be one of {known}")
            continue
        messages.append((role, check.text(f"message {at} of input", one.get("content"))))
    if not messages or messages[-1][0] != "user":
        check.fault("input should end with a message of the user")
    return tuple(messages)


def _letter_target(value: object, choices: Sequence[str], check: _Check) -> str | tuple[str, ...]:
    letters = value if isinstance(value, list) else [value]
    last = _letter(len(choices) - 1)
    if len(letters) > 1:
        check.fault("target names several right choices; capgate takes questions with one")
    elif not letters or letters[0] not in tuple(LETTERS[: len(choices)]):
        check.fault(f"target should be a letter from A to {last}, got {shown_value(value)}")
    return tuple(map(str, letters)) if isinstance(value, list) else str(value)


def _answer_letter(value: object, choices: Sequence[str], check: _Check, *, is_text: bool) -> str:
    """The right choice's letter, of a letter, an index or a choice's text."""
    last = _letter(len(choices) - 1)
    meant: dict[str, int] = {}
    if isinstance(value, int) and not isinstance(value, bool):
        meant["index"] = value
    elif isinstance(value, str):
        stripped = value.strip()
        if len(stripped) == 1 and stripped.upper() in LETTERS:
            meant["letter"] = LETTERS.index(stripped.upper())
        if (same := [at for at, one in enumerate(choices) if one.strip() == stripped]) and stripped:
            meant["text"] = same[0]
        if is_text and stripped.isdecimal() and len(stripped) < 3:
            meant["index"] = int(stripped)
    meant = {way: at for way, at in meant.items() if 0 <= at < len(choices)}
    places = set(meant.values())
    if len(places) > 1:
        ways = " and the ".join(f"{way} of choice {_letter(at)}" for way, at in meant.items())
        check.fault(f"answer {shown_value(value)} is the {ways}; write it so that one is meant")
    elif not places:
        check.fault(
            f"answer should be a letter from A to {last}, an index from 0 to {len(choices) - 1} "
            f"or a choice's text, got {shown_value(value)}"
        )
    return _letter(places.pop()) if places else ""


def _texts(key: str, value: object, check: _Check) -> str | tuple[str, ...]:
    if not isinstance(value, list):
        return _text_of(key, value, check)
    if not value:
        check.fault(f"{key} is empty")
    return tuple(dict.fromkeys(_text_of(key, one, check) for one in value))


def _text_of(key: str, value: object, check: _Check) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value):
            return str(value)
        check.fault(f"{key} should be a text or a number, got {value}")
        return ""
    text = check.text(key, value)
    if text and not any(character.isalnum() for character in text):
        check.fault(f"{key} {shown_value(text)} has no letter or digit, which is all that is read")
    return text


def _letter(at: int) -> str:
    return LETTERS[at] if at < len(LETTERS) else str(at + 1)
