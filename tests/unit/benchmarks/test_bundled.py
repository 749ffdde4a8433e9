"""The questions that capgate ships: their number, form and balance, and that they are its own."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from capgate.benchmarks.mmlu.load import load_questions
from capgate.benchmarks.mmlu.subjects import SUBJECTS

EACH = {"test": 4, "dev": 2}


def rows(split: str) -> list[dict[str, Any]]:
    """Returns the rows of a bundled split."""
    text = (files("capgate.benchmarks.mmlu") / "bundled" / f"{split}.jsonl").read_text(
        encoding="utf-8"
    )
    return [json.loads(line) for line in text.split("\n") if line]


def normalised(text: str) -> str:
    """Returns a text's letters and digits alone, in lower case."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).lower())


@pytest.mark.parametrize("split", ["test", "dev"])
def test_each_subject_has_its_share(split: str) -> None:
    """Each of the 57 subjects has 4 test questions and 2 examples."""
    assert Counter(one["subject"] for one in rows(split)) == dict.fromkeys(SUBJECTS, EACH[split])


@pytest.mark.parametrize("split", ["test", "dev"])
def test_each_question_has_four_distinct_options(split: str) -> None:
    """Four options that differ by more than letter case and punctuation, one of them the key."""
    for one in rows(split):
        options = {" ".join(choice.split()).casefold() for choice in one["choices"]}
        assert len(options) == len(one["choices"]) == 4, one
        assert all(options), one
        assert one["answer"] in range(4), one


@pytest.mark.parametrize("split", ["test", "dev"])
def test_keys_are_balanced(split: str) -> None:
    """No letter is the key more often than another by more than one in twenty."""
    counts = Counter(one["answer"] for one in rows(split))
    expected = sum(counts.values()) / 4
    assert all(abs(counts[key] - expected) <= expected / 20 + 1 for key in range(4)), counts


def test_no_question_stands_twice() -> None:
    """No question is repeated, neither as a test question nor as an example."""
    questions = [normalised(one["question"]) for split in EACH for one in rows(split)]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("shots", [0, 5])
def test_it_loads_at_both_numbers_of_shots(shots: int) -> None:
    """The set loads whole, with and without examples."""
    described = load_questions("bundled", shots=shots).describe()
    assert (described["questions"], described["subjects"]) == (228, 57)
    assert described["source"] == "bundled"


def test_no_question_is_mmlu_s(mmlu_folder: Path) -> None:
    """None of its questions is one of MMLU's, in any of MMLU's splits."""
    theirs = set()
    for file in mmlu_folder.glob("*.jsonl"):
        with file.open(encoding="utf-8") as lines:
            theirs |= {normalised(json.loads(line)["question"]) for line in lines}
    assert len(theirs) > 13_000
    ours = {normalised(one["question"]) for split in EACH for one in rows(split)}
    assert not ours & theirs
