"""`capgate parity`: what is concluded from three looks, and what it refuses to compare."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.commands.conftest import Told

from capgate.commands.parity import compare
from capgate.common.answers import Answer, AnswerState
from capgate.gate.policy import Policy

C, U, E = AnswerState.CORRECT, AnswerState.UNPARSED, AnswerState.ERROR


def look(choices: str, state: AnswerState = C) -> list[Answer]:
    """Answers with these letters; `-` is an error."""
    return [
        Answer(f"q{at}", "anatomy", E if one == "-" else state, "" if one == "-" else one, "said")
        for at, one in enumerate(choices)
    ]


@pytest.mark.parametrize(
    ("merged", "again", "kind"),
    [
        ("A" * 40, "A" * 40, "SAME"),
        ("B" * 10 + "A" * 30, "A" * 40, "DIFFERENT"),
        ("B" * 10 + "A" * 30, "A" * 30 + "B" * 10, "SAME"),
        ("B" * 4 + "A" * 36, "A" * 40, "SAME"),
    ],
)
def test_the_merged_weights_may_differ_as_the_adapter_does(
    merged: str, again: str, kind: str
) -> None:
    """They are DIFFERENT where they flip significantly more questions than noise does."""
    found = compare(look("A" * 40), look(merged), look(again), Policy())
    assert (found.kind, found.n, found.reason) == (kind, 40, "")
    assert found.flips == sum(one != "A" for one in merged)
    assert found.noise == sum(one != "A" for one in again)
    assert found.interval is not None
    assert found.interval.low <= found.flips / 40 <= found.interval.high


@pytest.mark.parametrize(
    ("adapter", "merged", "said"),
    [
        (look("AAA"), look("AAA"), "too few"),
        (look("-" * 40), look("A" * 40), ""),
        (look("A" * 20 + "-" * 20), look("A" * 40), ""),
        (look("A" * 40, U), look("A" * 40), "unreadable"),
    ],
)
def test_when_nothing_can_be_concluded(
    adapter: list[Answer], merged: list[Answer], said: str
) -> None:
    """Too few questions, missing answers and unreadable ones are INCONCLUSIVE, with the reason."""
    found = compare(adapter, merged, adapter, Policy())
    assert found.kind == "INCONCLUSIVE"
    assert found.reason
    assert said in found.reason


def test_missing_answers_are_left_out() -> None:
    """A question that one of the three did not answer is counted as an error, with its fault."""
    found = compare(look("A" * 399 + "-"), look("A" * 400), look("A" * 400), Policy())
    assert (found.kind, found.n, found.errors, found.fault) == ("SAME", 399, 1, "said")


MODELS = """
one: {model_name: m, base_url: "http://127.0.0.1:9/v1", dataset: bundled}
two: {model_name: n, base_url: "http://127.0.0.1:9/v1", dataset: bundled}
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--model-id", "one"), 4, "--merged"),
        (("--model-id", "one", "--merged", "two"), 4, "one adapter with one merged model"),
        (("--model-id", "one", "--adapter-name", "a", "--merged", "no"), 4, "no"),
        (("--model-id", "one", "--adapter-name", "a", "--merged", "two"), 11, "nothing accepts"),
    ],
)
def test_what_can_not_be_compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: Told,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    """Wrong usage ends with 4, a server that can't be asked with 11; neither with DIFFERENT's 1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "models.yaml").write_text(MODELS)
    out, err = told("parity", *arguments, code=code)
    assert out == ""
    assert said in err
    assert "Traceback" not in err
