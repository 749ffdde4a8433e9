"""What an eval is spared changes nothing for whoever looks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import shortuuid.main
from hypothesis import given
from hypothesis import strategies as st

from capgate.asking.inspect_backend.shortcuts import shortcuts

_PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_KEYS = st.text() | st.tuples(st.integers(), st.text())
_DATA = st.recursive(
    _PLAIN, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=20
)


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Has the first use, which imports much of Inspect, behind it."""
    with shortcuts([], timed=True):
        pass


def quick(value: Any) -> Any:  # noqa: ANN401
    """Returns the copy that is made while an eval runs."""
    with shortcuts([], timed=True):
        return copy.deepcopy(value)


@given(st.dictionaries(_KEYS, _DATA))
def test_a_copy_is_equal(value: dict[Any, Any]) -> None:
    """A copy made while an eval runs is equal to what was copied."""
    assert quick(value) == value


def test_a_copy_shares_nothing_that_can_change() -> None:
    """A copy's lists and dictionaries are its own, at every depth."""
    value = {"a": {"b": [1, {"c": 2}]}}
    copied = quick(value)
    copied["a"]["b"][1]["c"] = 3
    copied["a"]["b"].append(4)
    assert value == {"a": {"b": [1, {"c": 2}]}}


def test_a_copy_has_the_same_shape() -> None:
    """What stands in two places of the original is one thing in the copy too, itself included."""
    shared = [1]
    value: dict[str, Any] = {"a": shared, "b": shared}
    value["me"] = value
    copied = quick(value)
    assert copied["a"] is copied["b"]
    assert copied["a"] is not shared
    assert copied["me"] is copied


@given(st.integers(0, 2**128 - 1), st.none() | st.integers(0, 30))
def test_ids_are_written_as_ever(number: int, padding: int | None) -> None:
    """An id is the same text that it would be outside of an eval."""
    alphabet = list(shortuuid.get_alphabet())
    plain = shortuuid.main.int_to_string(number, alphabet, padding)
    with shortcuts([], timed=True):
        assert shortuuid.main.int_to_string(number, alphabet, padding) == plain


def test_copies_are_made_as_before_afterwards() -> None:
    """An eval leaves the process's way to copy as it was, also where it fails."""
    before = dict(copy._deepcopy_dispatch)  # type: ignore[attr-defined]
    try:
        with shortcuts([], timed=True):
            raise KeyError
    except KeyError:
        pass
    assert copy._deepcopy_dispatch == before  # type: ignore[attr-defined]
