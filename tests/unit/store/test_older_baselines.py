"""Baselines that were recorded before there were benchmarks other than MMLU."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError
from capgate.store.baselines import dump_baseline, load_baseline, make_baseline

RECORDED = Path(__file__).with_name("baseline-version-2.json")
"""What version 2 wrote of a run of MMLU."""

FACTS = {
    "schema_version": 3,
    "target": "mine",
    "benchmark": "sums",
    "letters": "",
    "run": "r",
    "recorded": "2026-01-01T00:00:00+00:00",
    "fingerprint": "f",
    "identity": {
        "generation": {"max_tokens": 64},
        "versions": {"task": "t@1", "scorer": "s"},
        "identity": {},
    },
    "task": "data/sums.jsonl",
    "prompt_hash": "p",
    "dataset": {"digest": "d", "source": "data/sums.jsonl"},
}


def test_a_baseline_of_mmlu_stays_as_it_was() -> None:
    """It is read as one of MMLU, and written again it is the same file to the last byte."""
    baseline = load_baseline(RECORDED, benchmark=MMLU)
    assert (baseline.benchmark, baseline.letters, baseline.chance) == (MMLU, "ABCD", 0.25)
    assert dump_baseline(baseline) == RECORDED.read_text(encoding="utf-8")
    states = {one.question[0]: (one.state, one.choice) for one in baseline.recorded_answers()}
    assert states["1"] == (AnswerState.CORRECT, "A")
    assert baseline.second_look == {"2" * 32: AnswerState.CORRECT}
    assert [one.question[0] for one in baseline.recorded_answers() if one.cut_off] == ["3"]


def test_it_is_no_baseline_of_another_benchmark() -> None:
    """A file that lies where another benchmark's should is refused with what it is."""
    with pytest.raises(ConfigError, match="is not of sums: it is of mine on mmlu"):
        load_baseline(RECORDED, benchmark="sums")


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=60)
CHOICES = TEXTS.map(lambda text: text[:20].strip())


@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from([AnswerState.CORRECT, AnswerState.WRONG]),
            CHOICES | st.sampled_from(["cut off", "A", "-7", "C", "U cut off"]),
            TEXTS,
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
    unread=st.booleans(),
)
def test_answers_in_free_text_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    answers: list[tuple[AnswerState, str, str, bool]],
    unread: bool,
) -> None:
    """Whatever was read in an answer, a recorded baseline gives it back, cut off or not.

    The length of answers is judged by that: a baseline that knew lengths, but not which readable
    answers were cut off, would count those of every later run as new.
    """
    given_answers = [
        Answer(f"{at:032}", "sums", state, choice, text, completion_tokens=at, cut_off=cut)
        for at, (state, choice, text, cut) in enumerate(answers)
    ]
    given_answers.append(Answer("x" * 32, "sums", AnswerState.UNPARSED, "", "so", cut_off=unread))
    path = tmp_path_factory.getbasetemp() / "mine.sums.json"
    path.write_text(dump_baseline(make_baseline(given_answers, **FACTS)), encoding="utf-8")
    found = load_baseline(path, benchmark="sums")
    assert found.recorded_answers() == given_answers
