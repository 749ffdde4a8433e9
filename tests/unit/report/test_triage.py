"""Triage: one label for each flipped question, in one order, and the drop in two shares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from capgate.benchmarks.mmlu.known_errors import load_redux
from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError
from capgate.common.text import content_key
from capgate.report.data.comparison import LABELS, Comparison, Flip, Side
from capgate.report.data.flips import paired, relabel
from capgate.report.data.labels import AskedPair, change_of, label_of, letter_shifts, split_drop

C, W, U, E = AnswerState.CORRECT, AnswerState.WRONG, AnswerState.UNPARSED, AnswerState.ERROR


def side(state: AnswerState = W, choice: str = "B", margin: float | None = 2.0) -> Side:
    """One side's answer."""
    return Side(state=state, choice=choice if state in (C, W) else "", text="…", margin=margin)


def flip(**changes: object) -> Flip:
    """A question lost."""
    return Flip.model_validate(
        {
            "question": "q",
            "subject": "anatomy",
            "change": "loss",
            "label": "knowledge",
            "text": "How many sides has a square?",
            "choices": ("4", "3", "5", "6"),
            "key": "A",
            "reference": side(C, "A"),
            "candidate": side(W, "B"),
        }
        | changes
    )


def test_the_labels_are_tried_in_the_order_of_the_design() -> None:
    """Where everything speaks for every label, taking one away leaves the next."""
    everything = {"shifted": ("B",), "bad_label": True, "duplicated": True}
    near = side(W, "B", 0.05)
    right = side(C, "A")
    assert label_of("loss", right, side(E, ""), **everything) == "error"
    assert label_of("loss", right, side(U, ""), **everything) == "unparsed"
    endless = side(W, "B").model_copy(update={"cut_off": True})
    assert label_of("loss", right, endless, **everything) == "does not stop"
    assert label_of("loss", right, near, **everything) == "letter shift"
    assert label_of("loss", right, near, bad_label=True, duplicated=True) == "near tie"
    assert label_of("loss", right, side(), bad_label=True, duplicated=True) == "known bad label"
    assert label_of("loss", right, side(), duplicated=True) == "duplicate"
    assert label_of("loss", right, side()) == "knowledge"
    assert LABELS == (
        "error",
        "unparsed",
        "does not stop",
        "letter shift",
        "near tie",
        "known bad label",
        "duplicate",
        "knowledge",
    )


@pytest.mark.parametrize(("margin", "label"), [(0.1, "near tie"), (0.11, "knowledge")])
def test_a_near_tie_is_a_tenth_of_a_nat(margin: float, label: str) -> None:
    """Either side's margin counts; without log-probabilities nothing is a near tie."""
    assert label_of("loss", side(C, "A", margin), side()) == label
    assert label_of("loss", side(C, "A"), side(W, "B", margin)) == label
    assert label_of("loss", side(C, "A", None), side(W, "B", None)) == "knowledge"


def test_what_counts_as_a_flip() -> None:
    """A loss is a right answer gone, whatever came instead; a gain needs an answer before."""
    assert [change_of(C, one) for one in (C, W, U, E)] == [None, "loss", "loss", "loss"]
    assert [change_of(one, C) for one in (C, W, U, E)] == [None, "gain", "gain", None]
    assert change_of(W, U) is None


def pairs(subject: str, sides: list[tuple[str, str]]) -> list[AskedPair]:
    """Pairs of letters, the key always A."""

    def one(letter: str) -> Side:
        if letter == "-":
            return side(U, "")
        return side(C if letter == "A" else W, letter)

    return [
        AskedPair(f"{subject} {at}", subject, one(theirs), one(ours))
        for at, (theirs, ours) in enumerate(sides)
    ]


def test_a_letter_shift_is_large_and_sure() -> None:
    """A subject answered with one letter is found there, and not where only a few went so."""
    broken = pairs("anatomy", [("A", "C")] * 30 + [("C", "C")] * 30)
    sound = pairs("virology", [("A", "A")] * 500 + [("B", "C")] * 5)
    found = letter_shifts([*broken, *sound])
    assert [(one.letter, one.subject) for one in found] == [("C", "anatomy")]
    assert (found[0].reference_share, found[0].candidate_share) == (0.5, 1.0)
    assert not letter_shifts(pairs("anatomy", [("A", "C")] * 3 + [("C", "C")]))
    # Too few in each subject, but enough of them together.
    spread = [one for at in range(20) for one in pairs(f"s{at}", [("A", "C"), ("A", "A")])]
    assert [(one.letter, one.subject) for one in letter_shifts(spread)] == [("C", None)]


def test_the_drop_is_split_by_what_a_constrained_answer_brings_back() -> None:
    """Two of three unparsed losses come back: theirs is the format share."""
    asked = pairs("anatomy", [("A", "-")] * 3 + [("A", "B")] + [("A", "A")] * 6)
    again = {("candidate", f"anatomy {n}"): state for n, state in enumerate((C, C, W))}
    split = split_drop(asked, again)
    assert (split.status, split.questions, split.asked) == ("asked", 3, 3)
    assert split.drop == pytest.approx(0.4)
    assert split.format == pytest.approx(0.2)
    assert split.knowledge == pytest.approx(0.2)


def test_a_split_that_could_not_be_had_says_so() -> None:
    """Then only a bound is given, with the reason; nothing unparsed needs no asking."""
    asked = pairs("anatomy", [("A", "-")] * 3 + [("A", "A")] * 7)
    split = split_drop(asked, {}, reason="its engine can't constrain an answer")
    assert (split.status, split.format, split.format_at_most) == ("not had", None, 0.3)
    assert split.reason == "its engine can't constrain an answer"
    assert split_drop(pairs("anatomy", [("A", "B")]), {}).status == "not needed"
    # An answer that failed again brings nothing back.
    failed = {("candidate", f"anatomy {n}"): E for n in range(3)}
    assert split_drop(asked, failed).status == "not had"


def test_pairs_are_counted_as_the_gate_counts() -> None:
    """Errors leave the denominator on both sides."""
    found = [
        AskedPair(str(at), "anatomy", side(theirs, "A"), side(ours, "A"))
        for at, (theirs, ours) in enumerate([(C, W), (W, C), (C, C), (C, E), (E, C), (C, U)])
    ]
    counts = paired(found)
    assert (counts.n, counts.losses, counts.gains, counts.drop) == (4, 2, 1, 0.25)


def test_two_questions_are_the_same_by_words_and_choices() -> None:
    """Case, punctuation and the choices' order do not matter; a formula's signs do."""
    assert content_key("How many?", ["1", "2"]) == content_key("how  many", ["2", "1"])
    assert content_key("x + 1 = 2", ["1", "2"]) != content_key("x - 1 = 2", ["1", "2"])
    assert content_key("How many?", ["1", "2"]) != content_key("How many?", ["1", "3"])


def test_known_bad_labels_by_text_and_by_place(tmp_path: Path) -> None:
    """Annotations name a question by its text (CSV) or its place in the original file."""
    lost = flip()
    comparison = Comparison(reference={"kind": "base", "target": "b"}, flips=(lost,))
    csv = tmp_path / "mmlu_anatomy.csv"
    csv.write_text(
        "question;choices;answer;error_type;source;correct_answer;potential_reason\n"
        "\"How many sides has a square?\";\"['4' '3' '5' '6']\";0;wrong_groundtruth;;2;\n",
        encoding="utf-8",
    )
    labelled = relabel(comparison, load_redux(csv))
    assert (labelled.flips[0].label, labelled.flips[0].note) == (
        "known bad label",
        "the key is wrong; C is right",
    )
    assert "1 of 1 flipped questions are annotated" in str(labelled.redux)

    data = tmp_path / "mmlu"
    data.mkdir()
    question = {"question": lost.text, "subject": "anatomy", "choices": lost.choices, "answer": 0}
    (data / "test.jsonl").write_text(json.dumps(question) + "\n")
    (data / "dev.jsonl").write_text(json.dumps(question) + "\n")
    by_place = tmp_path / "annotations.jsonl"
    row = {"subject": "anatomy", "index_in_subject": 0, "dataset_answer": 0}
    other = {**row, "dataset_answer": 3}
    by_place.write_text(
        "\n".join(json.dumps(one | {"error_type": "bad_question_clarity"}) for one in (row, other))
    )
    redux = load_redux(by_place, data)
    assert relabel(comparison, redux).flips[0].note == "the question is unclear"
    assert redux.refused == 1
    with pytest.raises(ConfigError, match="--dataset"):
        load_redux(by_place)
    by_place.write_text(json.dumps(other | {"error_type": "ok"}))
    with pytest.raises(ConfigError, match="1 of 1 do not fit the questions in their place"):
        load_redux(by_place, data)
    sound = tmp_path / "ok.jsonl"
    sound.write_text(json.dumps(row | {"error_type": "ok", "question": "?", "choices": ["a", "b"]}))
    assert relabel(comparison, load_redux(sound)).flips[0].label == "knowledge"
    sound.write_text('{"subject": "anatomy"}')
    with pytest.raises(ConfigError, match="no annotations"):
        load_redux(sound)


@pytest.mark.skipif(
    not Path(__file__).parents[3].parent.joinpath("shared/data/redux").is_dir(),
    reason="needs MMLU-Redux in ../shared/data/redux",
)
def test_the_real_annotations_fit_the_real_mmlu(mmlu_folder: Path) -> None:
    """All 5,700 rows find their question; those that name a fault are kept as such."""
    folder = mmlu_folder.parent / "redux"
    redux = load_redux(folder / "mmlu_redux_annotations.jsonl", mmlu_folder)
    assert redux.refused == 0
    with (mmlu_folder / "test.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    asked = {(row["subject"], row["question"], tuple(row["choices"])) for row in rows}
    assert 300 < sum(bool(redux.fault_of(*question)) for question in asked) < 340
