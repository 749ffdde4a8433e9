"""Questions that share a passage are no independent evidence."""

from __future__ import annotations

import pytest

from capgate.common.answers import Answer
from capgate.common.answers import AnswerState as State
from capgate.gate import Pair, Policy, RowsError, SequentialGate, Single, decide_fixed, pair_up
from capgate.gate.decide_floor import Floor, decide_floor
from capgate.gate.decide_paired import judge_subject
from capgate.gate.rows import one_of_each

RIGHT = State.CORRECT
PAIRS = [Pair(f"q{i}", "a", RIGHT, RIGHT, cluster=f"passage{i // 4}") for i in range(40)]
SINGLES = [Single(f"q{i}", "a", RIGHT, cluster=f"passage{i // 4}") for i in range(40)]


def test_exact_tests_refuse_questions_of_one_passage() -> None:
    """The error names how many share what, and the way out."""
    with pytest.raises(RowsError, match="40 questions share 10 passages") as caught:
        decide_fixed(PAIRS, Policy())
    assert "one question of each cluster" in str(caught.value)
    with pytest.raises(RowsError, match="passages"):
        judge_subject(PAIRS, Policy(), n_subjects=1)
    with pytest.raises(RowsError, match="passages"):
        decide_floor(SINGLES, Floor(0.5), Policy())


def test_a_quick_run_refuses_them_too() -> None:
    """Also where the second question of a passage comes in a later batch."""
    gate = SequentialGate(Policy(), population=40)
    gate.update(PAIRS[:1])
    with pytest.raises(RowsError, match="passage"):
        gate.update(PAIRS[1:2])


def test_one_question_of_each_passage_is_judged() -> None:
    """One of each is kept, by a seeded choice that does not depend on the order given."""
    cluster_of = {row.question: row.cluster for row in PAIRS}
    kept = one_of_each(cluster_of, seed=1)
    assert len({cluster_of[question] for question in kept}) == len(kept) == 10
    assert kept == one_of_each(dict(reversed(cluster_of.items())), seed=1)
    assert kept != one_of_each(cluster_of, seed=2)
    rows = [row for row in PAIRS if row.question in kept]
    assert decide_fixed(rows, Policy()).kind == "INCONCLUSIVE"


def test_questions_that_stand_alone_are_all_kept() -> None:
    """An empty cluster is none."""
    assert len(one_of_each({"a": "", "b": "", "c": "x"}, seed=1)) == 3


def test_tokens_and_clusters_come_with_the_answers() -> None:
    """Two runs joined by question bring both sides' tokens and the question's cluster."""
    ours, theirs = (
        Single.of(Answer("q", "a", RIGHT, completion_tokens=tokens), "passage")
        for tokens in (40, 10)
    )
    (pair,) = pair_up([theirs], [ours])
    assert (pair.reference_tokens, pair.candidate_tokens, pair.cluster) == (10, 40, "passage")
