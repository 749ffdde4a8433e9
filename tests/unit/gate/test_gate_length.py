"""The length of answers: what fails a model that rambles, whatever it knows."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.gate.suites import answers

from capgate.common.answers import AnswerState as State
from capgate.gate import Pair, Policy, SequentialGate, benchmark_budget, decide_fixed, seeded_order
from capgate.gate.length import judge_length, judge_length_in_play
from capgate.gate.verdict import LengthFinding, Verdict

SHARE = 0.01


def judged(rows: list[Pair], **policy: float) -> LengthFinding:
    """The finding on some answers at once."""
    found = judge_length(rows, Policy(reason="a test", **policy), SHARE)
    assert found is not None
    return found


def test_answers_four_times_as_long_fail() -> None:
    """The mean grew beyond three times, and nearly every answer did."""
    found = judged(answers("a", 200, tokens=(100, 400)))
    assert (found.grew, found.cut_off, found.failed) == (True, False, True)
    assert (found.longer, found.shorter) == (200, 0)
    assert found.candidate_tokens == 400


def test_answers_twice_as_long_pass() -> None:
    """`max_length_increase` is three by default; a policy may say less."""
    assert not judged(answers("a", 200, tokens=(100, 200))).failed
    assert judged(answers("a", 200, tokens=(100, 200)), max_length_increase=1.5).failed


def test_shorter_answers_pass() -> None:
    """A model that became terse is no failure."""
    found = judged(answers("a", 200, tokens=(400, 100)))
    assert (found.shorter, found.failed) == (200, False)


def test_a_letter_that_became_a_sentence_start_passes() -> None:
    """`B` and `Answer: B` differ by a factor, but by a few tokens only."""
    assert not judged(answers("a", 200, tokens=(1, 9))).failed


def test_some_answers_that_ramble_fail_by_the_mean() -> None:
    """A tenth of the answers runs to a thousand tokens: the mean is ten times as long."""
    rows = answers("a", 450, tokens=(10, 10)) + answers("b", 50, tokens=(10, 1000))
    found = judged(rows)
    assert (found.longer, found.grew) == (50, True)


def test_a_few_long_answers_are_chance() -> None:
    """Three long answers of two hundred move the mean, but may be luck."""
    rows = answers("a", 197, tokens=(10, 10)) + answers("b", 3, tokens=(10, 4000))
    found = judged(rows)
    assert found.large
    assert not found.failed


def test_answers_that_are_cut_off_fail() -> None:
    """A twentieth of the answers runs into the token limit, though each could be read."""
    found = judged(answers("a", 400, tokens=(100, 100), cut_off=20))
    assert (found.grew, found.cut_off, found.failed) == (False, True, True)
    assert found.candidate_cut_off == 0.05


def test_beside_a_baseline_only_unreadable_answers_count_as_cut_off() -> None:
    """It has no tokens, and says of unreadable answers alone whether they were cut off."""
    read = judged(answers("a", 400, cut_off=20))
    assert (read.evidence, read.reference_tokens, read.failed) == (None, None, False)
    unread = judged(answers("a", 380) + answers("b", 20, unread=20, cut_off=20))
    assert (unread.evidence, unread.cut_off) == (None, True)


def test_missing_answers_speak_for_the_candidate() -> None:
    """An answer that did not come cannot make a model fail for its length."""
    rows = answers("a", 200, tokens=(100, 400))
    few, more = judged(rows[:12]), judged([*rows[:12], *answers("m", 20, missing=20)])
    assert few.grew
    assert not more.grew


def test_an_unchanged_model_fails_no_more_often_than_its_share() -> None:
    """Two runs of one model with lengths that swing: longer and shorter answers alike."""
    rng = np.random.default_rng(5)
    policy, failed, runs = Policy(max_unparsed_increase=0.001), 0, 300
    for _ in range(runs):
        lengths = np.exp(rng.normal(4.0, 1.5, size=(2, 60))).astype(int) + 1
        cut = rng.random((2, 60)) < 0.2
        rows = [
            Pair(
                str(i),
                "a",
                State.CORRECT,
                State.CORRECT,
                reference_cut_off=bool(cut[0, i]),
                candidate_cut_off=bool(cut[1, i]),
                reference_tokens=int(lengths[0, i]),
                candidate_tokens=int(lengths[1, i]),
            )
            for i in range(60)
        ]
        for judge in (judge_length, judge_length_in_play):
            found = judge(rows, policy, 0.1)
            assert found is not None
            failed += found.failed
    assert failed / (2 * runs) <= 0.1


def whole(rows: list[Pair], policy: Policy) -> Verdict:
    """The verdict on one benchmark by itself."""
    return decide_fixed(rows, policy, budget=benchmark_budget(policy, 1))


def test_one_benchmark_is_tested_only_where_the_policy_says() -> None:
    """MMLU alone is judged as ever; `max_length_increase` in the policy switches the test on."""
    rows = answers("a", 1000, tokens=(100, 400))
    assert whole(rows, Policy()).kind == "PASS"
    assert whole(rows, Policy()).length is None
    verdict = whole(rows, Policy(max_length_increase=3.0))
    assert verdict.kind == "REGRESSION"
    assert verdict.reasons[0].startswith("Answers became longer: 400 tokens on average")
    assert verdict.to_dict()["length"]["failed"]
    assert "length" not in whole(rows, Policy()).to_dict()


@pytest.mark.parametrize("long", [False, True])
def test_a_quick_run_tells_of_longer_answers_when_it_stops(long: bool) -> None:
    """Accuracy holds, so the run stops soon; the lengths seen until then fail it."""
    rows = {
        row.question: row
        for row in answers("a", 2000, lost=20, gained=20, tokens=(100, 400 if long else 110))
    }
    gate = SequentialGate(
        Policy().for_benchmark("a", 0.05),
        population=len(rows),
        seed=3,
        budget=benchmark_budget(Policy(), 3, quick=True),
    )
    order = seeded_order(rows, seed=3)
    for at in range(0, len(order), 64):
        if gate.update([rows[question] for question in order[at : at + 64]]):
            break
    assert gate.verdict is not None
    assert gate.verdict.kind == ("REGRESSION" if long else "PASS")
    assert gate.verdict.length is not None
    assert gate.verdict.length.n < 1000


def test_nothing_scored_has_no_length() -> None:
    """Without an answer on both sides there is no finding."""
    assert judge_length(answers("a", 5, missing=5), Policy(), SHARE) is None


def test_inconclusive_does_not_excuse_answers_that_became_long() -> None:
    """`on_inconclusive: pass` excuses a lack of evidence only."""
    policy = Policy(on_inconclusive="pass", max_length_increase=3.0, reason="a test")
    rows = answers("a", 300, tokens=(100, 400), missing=60)
    verdict = whole(rows, policy)
    assert verdict.kind == "INCONCLUSIVE"
    assert verdict.length is not None
    assert verdict.fails == verdict.length.failed
