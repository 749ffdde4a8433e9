"""Stored answers read again: what of a change is the scorer's, and what is the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.runs import MAX_TOKENS, TASK, answers, keep_run, questions, right

from capgate.asking.rescore import Moves, Record, moves, record_of_run, rescore
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import ConfigError
from capgate.common.redact import MARK
from capgate.store.answer_store import Store
from capgate.store.runs import read_run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RUN = "20260101T000000Z-0001"
ASKED = questions()[:6]


def record(given: Sequence[Answer], *, lost: int = 0) -> Record:
    """A record of answers, made with today's versions."""
    task = mmlu_task(TASK, MAX_TOKENS)
    return Record(
        "the run r", "mine", task, task.prompt_hash, task.versions, {}, tuple(given), lost
    )


def said(question: Question, text: str, then: AnswerState, letter: str = "") -> Answer:
    """An answer as it was read when it came."""
    return Answer(question.hash, question.subject, then, letter, text)


def letters(question: Question) -> tuple[str, str]:
    """A question's right letter and a wrong one."""
    key = str(question.sample.target)
    return key, "B" if key == "A" else "A"


def test_an_unchanged_scorer_reads_as_it_did() -> None:
    """Nothing changes where the same scorer reads the same texts, right or wrong or formless."""
    key, other = letters(ASKED[1])
    given = [
        right(ASKED[0]),
        said(ASKED[1], f"ANSWER: {other}", AnswerState.WRONG, other),
        said(ASKED[2], "I can not tell.", AnswerState.UNPARSED),
    ]
    again = rescore(record(given), ASKED)
    assert key != other
    assert again.changed == ()
    assert again.then == again.now == pytest.approx(1 / 3)
    assert again.version_change == ""


def test_an_answer_that_is_read_differently_is_told() -> None:
    """Accuracy then and now, and each answer whose reading differs, in both readings."""
    key, other = letters(ASKED[0])
    given = [
        said(ASKED[0], f"ANSWER: {key}", AnswerState.UNPARSED),
        said(ASKED[1], "nothing", AnswerState.CORRECT, letters(ASKED[1])[0]),
        said(ASKED[2], f"ANSWER: {letters(ASKED[2])[0]}", AnswerState.WRONG, letters(ASKED[2])[1]),
        right(ASKED[3]),
    ]
    again = rescore(record(given), ASKED)
    assert (again.then, again.now) == (2 / 4, 3 / 4)
    assert [one.question for one in again.changed] == [one.hash for one in ASKED[:3]]
    first = again.changed[0]
    assert (first.then, first.then_choice) == (AnswerState.UNPARSED, "")
    assert (first.now, first.now_choice) == (AnswerState.CORRECT, key)
    assert first.text == f"ANSWER: {key}"
    assert other not in {first.now_choice, first.then_choice}


def test_a_thought_in_a_stored_text_is_not_scored() -> None:
    """Earlier versions kept a thought within the text; only what follows it is read."""
    key, other = letters(ASKED[0])
    text = f"<think>ANSWER: {other}</think>\nANSWER: {key}"
    (reading,) = rescore(record([said(ASKED[0], text, AnswerState.CORRECT, key)]), ASKED).readings
    assert (reading.now, reading.now_choice) == (AnswerState.CORRECT, key)


def test_questions_that_are_gone_are_counted() -> None:
    """Answers to questions that today's data set lacks are counted and not scored."""
    again = rescore(record([right(one) for one in ASKED]), ASKED[:4])
    assert (len(again.readings), again.unknown) == (4, 2)


@pytest.mark.parametrize(
    ("given", "lost", "why"),
    [
        ([right(ASKED[5])], 0, "none of its questions is in the data set"),
        ([], 3, "none of its texts was kept"),
    ],
    ids=["other questions", "no texts"],
)
def test_what_can_not_be_scored_is_a_fault(given: list[Answer], lost: int, why: str) -> None:
    """The fault says whether the questions or the texts are missing, and what to do."""
    with pytest.raises(ConfigError, match=why) as caught:
        rescore(record(given, lost=lost), ASKED[:4])
    assert caught.value.target == "mine"
    assert "--dataset" in caught.value.remedy


def test_other_versions_are_named() -> None:
    """A record of another scorer says which versions differ."""
    made = record([right(ASKED[0])])
    older = replace(made, versions={**made.versions, "scorer": "0" * 16})
    assert "scorer" in rescore(older, ASKED).version_change


def test_moves_count_losses_and_gains_on_common_questions() -> None:
    """Two records are compared by today's readings, question by question."""
    formless = [said(one, "no", AnswerState.UNPARSED) for one in ASKED]
    before = rescore(record([*map(right, ASKED[:3]), formless[3], right(ASKED[4])]), ASKED)
    after = rescore(record([formless[0], *map(right, ASKED[1:4])]), ASKED)
    assert moves(before, after) == Moves(n=4, before=3 / 4, after=3 / 4, losses=1, gains=1)


def test_moves_need_a_common_question() -> None:
    """Records of different questions are not compared."""
    before, after = (rescore(record([right(one)]), ASKED) for one in ASKED[:2])
    assert moves(before, after) is None


def test_progress_is_told_to_its_end() -> None:
    """A line at the start says how many answers are read."""
    lines: list[str] = []
    rescore(record([right(one) for one in ASKED]), ASKED, lines.append)
    assert lines[0] == "the run r: 6 answers"


def test_a_stored_run_is_a_record_of_its_whole_texts(tmp_path: Path) -> None:
    """Errors are left out; a text that a secret was cut out of counts as lost."""
    given = answers(texts={0: f"{MARK}: A", 1: "no letter"})
    given[2] = said(questions()[2], "the server failed", AnswerState.ERROR)
    keep_run(tmp_path, RUN, given)
    with Store(tmp_path / "reports" / "answers.sqlite") as store:
        made = record_of_run(read_run(store, RUN, "mine"), mmlu_task(TASK, MAX_TOKENS))
    assert (len(made.answers), made.lost) == (len(given) - 2, 1)
    assert (made.name, made.target) == (f"the run {RUN}", "mine")
    assert rescore(made, questions()).changed == ()
