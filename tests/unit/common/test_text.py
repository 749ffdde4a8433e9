"""Text from models and servers is hostile to a terminal until it was made printable."""

from __future__ import annotations

import json
import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.common.errors import (
    AdapterError,
    CapgateError,
    ConfigError,
    DatasetError,
    FileFault,
    RequestFault,
    ServerError,
    StoreError,
)
from capgate.common.text import json_text, one_line, printable, quoted

ANY = st.text(st.characters(exclude_categories=()), max_size=60)
HOSTILE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def categories(text: str) -> set[str]:
    """Returns the Unicode categories in a text."""
    return {unicodedata.category(char) for char in text}


@given(ANY)
def test_no_control_character_comes_through(text: str) -> None:
    """Of all control and direction-changing characters only line feed and tab are left."""
    shown = printable(text)
    assert not categories(shown.replace("\n", "").replace("\t", "")) & HOSTILE
    shown.encode()


@given(st.text(st.characters(exclude_categories=tuple(HOSTILE), exclude_characters="#")))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    """Text of any script without such characters is not changed."""
    assert printable(text) == text


@given(ANY)
def test_printing_twice_changes_nothing(text: str) -> None:
    """What is printable stays as it is."""
    assert printable(printable(text)) == printable(text)


@given(st.text(st.sampled_from("#[\x7f\\ a\n…"), max_size=30), st.integers(1, 40))
def test_no_text_speaks_to_github_s_log(text: str, limit: int) -> None:
    """`##[` is nowhere, in whatever way a text is shown; JSON still says the same."""
    shown = (printable(text), one_line(text, limit=limit), quoted(text), json_text({"a": text}))
    assert not [one for one in shown if "##[" in one]
    assert printable(printable(text)) == printable(text)
    assert json.loads(shown[-1]) == {"a": text}


def test_an_escape_sequence_is_shown_as_text() -> None:
    """A sequence that would clear the screen is visible and harmless."""
    assert printable("\x1b[2Jdone\u202e\U000e0001") == "\\x1b[2Jdone\\u202e\\U000e0001"


@given(ANY, st.integers(1, 40))
def test_one_line_is_one_short_line(text: str, limit: int) -> None:
    """A text of any length becomes one line of at most that many characters."""
    line = one_line(text, limit=limit)
    assert len(line) <= limit
    assert not categories(line) & HOSTILE


def test_a_long_line_says_that_it_was_cut() -> None:
    """What was cut off ends in an ellipsis; what fits does not."""
    assert one_line("a  b\n c", limit=5) == "a b c"
    assert one_line("abcdef", limit=5) == "abcd…"
    assert one_line("ab" + " " * 50 + "cd", limit=5) == "ab…"


@pytest.mark.parametrize(
    "error",
    [
        CapgateError("it broke", remedy="mend it", target="mine", said="no"),
        ConfigError("it has faults", faults=[FileFault("a.b", "wrong")], remedy="mend them"),
        RequestFault("refused", "refused", target="mine", url="http://h/v1", status=503, said="no"),
        DatasetError("no questions"),
        StoreError("no store", said="locked"),
        ServerError("it died", target="mine"),
        AdapterError("no adapter"),
    ],
)
def test_a_fault_survives_its_way_to_another_process(error: CapgateError) -> None:
    """Faults travel between controller and workers with their message and all their fields."""
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert there.__dict__ == error.__dict__


def test_a_fault_is_one_paragraph_with_the_remedy() -> None:
    """Target, what happened, the other side's words and the remedy, in this order."""
    error = CapgateError("it broke.", remedy="mend it", target="mine", said="no\x1b[2J\nway")
    assert str(error) == 'mine: it broke. It said: "no\\x1b[2J way". Mend it.'
