"""The outcome matrix: what comes out of which answers, through the public functions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capgate.benchmarks.mmlu.subjects import SUBJECTS
from capgate.common.answers import AnswerState as State
from capgate.common.errors import ConfigError
from capgate.gate import (
    Budget,
    Floor,
    Pair,
    Policy,
    RowsError,
    SequentialGate,
    Single,
    Verdict,
    decide_fixed,
    decide_floor,
    judge_subject,
    judge_subject_floor,
    pair_up,
    seeded_order,
)


def pairs(
    *,
    same: int = 0,
    wrong: int = 0,
    lost: int = 0,
    gained: int = 0,
    unparsed: int = 0,
    errors: int = 0,
    subject: str | None = None,
) -> list[Pair]:
    """Returns pairs by what became of them, spread over all subjects unless one is named."""
    kinds = [
        (same, State.CORRECT, State.CORRECT),
        (wrong, State.WRONG, State.WRONG),
        (lost, State.CORRECT, State.WRONG),
        (gained, State.WRONG, State.CORRECT),
        (unparsed, State.WRONG, State.UNPARSED),
        (errors, State.CORRECT, State.ERROR),
    ]
    rows: list[Pair] = []
    for count, reference, candidate in kinds:
        for _ in range(count):
            number = len(rows)
            name = subject or SUBJECTS[number % len(SUBJECTS)]
            rows.append(Pair(f"{subject}-{number}", name, reference, candidate))
    return rows


def singles(*, correct: int, wrong: int, errors: int = 0, subject: str = "anatomy") -> list[Single]:
    """Returns answers to be held against a floor."""
    states = [State.CORRECT] * correct + [State.WRONG] * wrong + [State.ERROR] * errors
    return [Single(f"q{i}", subject, state) for i, state in enumerate(states)]


def sequential(
    rows: list[Pair] | list[Single],
    policy: Policy | None = None,
    *,
    floor: Floor | None = None,
    seed: int = 1,
    limit: int | None = None,
) -> Verdict:
    """Runs the quick gate over the rows in the seeded order."""
    by_question = {row.question: row for row in rows}
    order = seeded_order(by_question, seed=seed)[:limit]
    gate = SequentialGate(policy or Policy(), population=len(rows), seed=seed, floor=floor)
    for start in range(0, len(order), 64):
        if gate.update([by_question[q] for q in order[start : start + 64]]):
            break
    return gate.finish("the limit was reached")


@pytest.mark.parametrize(
    ("rows", "policy", "kind"),
    [
        (pairs(same=3000, wrong=1000), Policy(), "PASS"),
        (pairs(same=3000, wrong=800, lost=100, gained=100), Policy(), "PASS"),
        (pairs(same=3000, wrong=500, lost=20, gained=480), Policy(), "PASS"),
        (pairs(same=3000, wrong=800, lost=240, gained=100), Policy(), "REGRESSION"),
        (pairs(same=60, wrong=20), Policy(), "INCONCLUSIVE"),
        (pairs(same=300, wrong=100, lost=12, gained=8), Policy(), "INCONCLUSIVE"),
        # Both hypotheses refuted: the estimate's side of the midpoint (1 point) decides.
        (pairs(same=30000, lost=260), Policy(), "PASS"),
        (pairs(same=30000, lost=360), Policy(), "REGRESSION"),
        # Unreadable answers, with and without evidence, and below the limit.
        (pairs(same=3000, wrong=800, unparsed=200), Policy(), "REGRESSION"),
        (pairs(same=3000, wrong=960, unparsed=40), Policy(), "PASS"),
        # Errors are never scored, and too many let nothing be said.
        (pairs(same=3000, wrong=1000, errors=20), Policy(), "PASS"),
        (pairs(same=3000, wrong=1000, errors=21), Policy(), "INCONCLUSIVE"),
        (pairs(errors=500), Policy(), "INCONCLUSIVE"),
        (pairs(same=3000, lost=900, errors=200), Policy(), "INCONCLUSIVE"),
    ],
)
def test_whole_benchmark(rows: list[Pair], policy: Policy, kind: str) -> None:
    """The suite's verdict on the whole benchmark."""
    assert decide_fixed(rows, policy).kind == kind


@pytest.mark.parametrize(
    "rows",
    [
        pairs(same=300, wrong=100, lost=12, gained=8),
        pairs(same=30000, lost=260),
        pairs(same=30000, lost=360),
        pairs(same=3000, wrong=1000),
        pairs(same=3000, wrong=800, lost=240, gained=100),
    ],
)
def test_every_fixed_verdict_tells_the_p_values_it_rests_on(rows: list[Pair]) -> None:
    """Where one test decides its p-value is told; where both count, or neither did, both are."""
    verdict = decide_fixed(rows, Policy())
    said = " ".join(verdict.reasons)
    harm, harmless = verdict.evidence
    if harm.rejected == harmless.rejected:
        assert f"{harm}; {harmless}." in said
    else:
        assert f"{harm if harm.rejected else harmless}." in said


def test_one_subject_fails_the_suite_by_name() -> None:
    """A collapse of one subject fails the suite, though the pooled test passes, and is named."""
    rows = pairs(same=7000) + pairs(same=80, lost=30, subject="nutrition")
    verdict = decide_fixed(rows, Policy())
    assert verdict.kind == "REGRESSION"
    assert [one.name for one in verdict.failed_subjects] == ["nutrition"]
    assert "nutrition (12.9 points)" in verdict.reasons[0]


def test_a_tolerated_drop_of_a_subject_is_no_loss() -> None:
    """A subject whose tolerance is raised with a reason is judged by it."""
    rows = pairs(same=70, lost=30, subject="nutrition")
    assert judge_subject(rows, Policy(), n_subjects=57).kind == "lost"
    own = Policy.model_validate({"subjects": {"nutrition": {"tolerate": 0.25, "catch": 0.4}}})
    verdict = judge_subject(rows, own, n_subjects=57)
    assert (verdict.kind, verdict.policy and verdict.policy.tolerate) == ("kept", 0.25)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (pairs(same=100, subject="anatomy"), "too few to tell"),
        (pairs(same=300, subject="anatomy"), "kept"),
        (pairs(same=90, lost=12, subject="anatomy"), "too few to tell"),
        (pairs(same=90, lost=13, subject="anatomy"), "lost"),
        (pairs(same=60, gained=40, subject="anatomy"), "kept"),
        (pairs(same=1, lost=3, subject="anatomy"), "too few to tell"),
        (pairs(same=1500, lost=30, subject="anatomy"), "lost"),
        (pairs(same=99, errors=1, subject="anatomy"), "INCONCLUSIVE"),
        (pairs(errors=100, subject="anatomy"), "INCONCLUSIVE"),
    ],
)
def test_one_subject(rows: list[Pair], kind: str) -> None:
    """Lost on evidence only (13 losses against none suffice), kept where 2 points are ruled out."""
    verdict = judge_subject(rows, Policy(), n_subjects=57)
    assert verdict.kind == kind
    assert verdict.fails is (kind in {"lost", "INCONCLUSIVE"})


@pytest.mark.parametrize(("catch", "kind"), [(0.02, "too few to tell"), (0.05, "kept")])
def test_a_subject_is_kept_by_its_own_catch(catch: float, kind: str) -> None:
    """100 unchanged answers rule out a loss of 5 points, and not one of 2."""
    own = Policy.model_validate({"subjects": {"anatomy": {"catch": catch}}})
    rows = pairs(same=100, subject="anatomy")
    assert judge_subject(rows, own, n_subjects=57).kind == kind
    (finding,) = decide_fixed(rows, own).subjects
    assert finding.word == kind


def test_a_subject_says_what_it_could_see() -> None:
    """A subject's result names the smallest drop that its questions could have shown."""
    verdict = judge_subject(pairs(same=100, subject="anatomy"), Policy(), n_subjects=57)
    assert verdict.smallest_visible_drop == pytest.approx(0.187, abs=0.001)
    assert "a drop under 18.7 points would usually not show" in verdict.reasons[1]
    assert "one of 2.0 points (catch) could not be seen" in verdict.reasons[1]
    own = Policy.model_validate({"subjects": {"anatomy": {"catch": 0.2}}})
    rows = pairs(same=85, lost=15, subject="anatomy")
    verdict = judge_subject(rows, own, n_subjects=57)
    assert "one of 20.0 points (catch) could be seen" in verdict.reasons[1]


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (singles(correct=7000, wrong=3000), "PASS"),
        (singles(correct=6600, wrong=3400), "REGRESSION"),
        (singles(correct=6890, wrong=3110), "REGRESSION"),
        (singles(correct=6950, wrong=3050), "PASS"),
        (singles(correct=70, wrong=30), "INCONCLUSIVE"),
        (singles(correct=7000, wrong=3000, errors=60), "INCONCLUSIVE"),
    ],
)
def test_floor(rows: list[Single], kind: str) -> None:
    """The suite's verdict against a floor of 70 %."""
    assert decide_floor(rows, Floor(0.7), Policy()).kind == kind


def test_subject_floor_fails_on_evidence_only() -> None:
    """A subject under its floor is lost only where the exact test says so."""
    words = [
        judge_subject_floor(rows, Floor(0.5), Policy(), n_subjects=57).kind
        for rows in (
            singles(correct=45, wrong=55),
            singles(correct=25, wrong=75),
            singles(correct=70, wrong=30),
        )
    ]
    assert words == ["too few to tell", "lost", "kept"]


def test_a_named_subject_floor_counts_in_the_suite() -> None:
    """A subject whose floor the policy names fails the suite's floor by name."""
    policy = Policy.model_validate({"subjects": {"virology": {"floor": 0.6}}})
    rows = singles(correct=9000, wrong=1000)
    rows += [
        Single(f"v{i}", "virology", State.CORRECT if i < 20 else State.WRONG) for i in range(100)
    ]
    verdict = decide_floor(rows, Floor(0.8), policy)
    assert verdict.kind == "REGRESSION"
    assert [one.name for one in verdict.failed_subjects] == ["virology"]


@pytest.mark.parametrize(
    ("rows", "policy", "limit", "kind"),
    [
        (pairs(same=3000, wrong=1000), Policy(), None, "PASS"),
        (pairs(same=3000, wrong=500, gained=500), Policy(), None, "PASS"),
        (pairs(same=3000, wrong=500, lost=500), Policy(), None, "REGRESSION"),
        (pairs(same=3000, wrong=500, lost=500), Policy(), 8, "INCONCLUSIVE"),
        (pairs(same=3000, wrong=800, unparsed=400), Policy(), None, "REGRESSION"),
        (pairs(same=3000, wrong=1000, errors=10), Policy(), None, "PASS"),
        (pairs(same=3000, errors=400), Policy(), None, "INCONCLUSIVE"),
        (pairs(errors=400), Policy(), None, "INCONCLUSIVE"),
        # All questions put: their answers are a draw all the same, and too few to say.
        (pairs(same=19, lost=1), Policy(), None, "INCONCLUSIVE"),
        (pairs(same=20), Policy(), None, "INCONCLUSIVE"),
        (pairs(same=208, lost=14, gained=6), Policy(), None, "INCONCLUSIVE"),
    ],
)
def test_quick_run(rows: list[Pair], policy: Policy, limit: int | None, kind: str) -> None:
    """The sequential gate's verdict."""
    assert sequential(rows, policy, limit=limit).kind == kind


@pytest.mark.parametrize(
    ("correct", "kind"), [(7000, "PASS"), (7500, "PASS"), (6500, "REGRESSION")]
)
def test_quick_run_against_a_floor(correct: int, kind: str) -> None:
    """The sequential gate decides on accuracy against a floor of 70 %."""
    rows = singles(correct=correct, wrong=10_000 - correct)
    assert sequential(rows, floor=Floor(0.7)).kind == kind


def test_a_quick_run_stops_early_and_says_so() -> None:
    """A clear case needs a small part of the benchmark, and the verdict names how much."""
    verdict = sequential(pairs(same=9000, wrong=1000, lost=1500))
    assert verdict.counts is not None
    assert verdict.counts.n <= 256
    assert f"after {verdict.counts.n} of 11,500 questions" in verdict.reasons[0]


def test_a_run_that_has_put_all_questions_names_the_fixed_rule() -> None:
    """Where all were put without a decision the verdict says so, and what to do."""
    verdict = sequential(pairs(same=208, lost=12, gained=8))
    assert verdict.kind == "INCONCLUSIVE"
    assert verdict.reasons[0] == (
        "All 228 questions were put, too few for a quick verdict; "
        "run `-m full`, which judges them together."
    )
    assert not any(evidence.rejected for evidence in verdict.evidence)
    assert "12 lost, 8 gained of 228" in verdict.reasons[1]


def test_evidence_is_never_more_than_was_needed() -> None:
    """A collapse ends at the e-value needed, to the digit: no more is staked than is lacking."""
    harm = sequential(pairs(lost=500)).evidence[0]
    assert harm.rejected
    assert harm.value == harm.threshold
    assert "(evidence 1.52 of the 1.52 needed)" in str(harm)


def test_a_dead_server_ends_the_run_without_a_verdict_on_the_model() -> None:
    """When errors can no longer fall under their limit the run ends, INCONCLUSIVE, early."""
    verdict = sequential(pairs(errors=14_042))
    assert verdict.kind == "INCONCLUSIVE"
    assert verdict.counts is not None
    assert verdict.counts.errors <= 128
    assert verdict.drop is None


def test_the_intervals_agree_with_the_verdicts() -> None:
    """A quick run's interval excludes `tolerate` on REGRESSION and `catch` on PASS."""
    harmed = sequential(pairs(same=9000, wrong=1000, lost=500, gained=100))
    harmless = sequential(pairs(same=9000, wrong=1000, lost=100, gained=100))
    assert (harmed.kind, harmless.kind) == ("REGRESSION", "PASS")
    assert harmed.interval is not None
    assert harmed.interval.low >= -1e-4
    assert harmless.interval is not None
    assert harmless.interval.high <= 0.02 + 1e-4


def test_answers_may_arrive_in_any_order_within_a_batch() -> None:
    """With a seed, the order in which a batch's answers came back changes nothing."""
    rows = {row.question: row for row in pairs(same=900, lost=60, gained=40)}
    order = seeded_order(rows, seed=3)

    def evidence(shuffle: Callable[[list[Pair]], None]) -> tuple[float, float]:
        gate = SequentialGate(Policy(), population=len(rows), seed=3)
        for start in range(0, 256, 64):
            batch = [rows[q] for q in order[start : start + 64]]
            shuffle(batch)
            gate.update(batch)
        return gate.progress.log10_harm, gate.progress.log10_harmless

    assert evidence(list[Pair].reverse) == evidence(random.Random(1).shuffle)


def test_batches_out_of_turn_are_refused() -> None:
    """A batch that comes before its turn, or twice, voids the guarantee and is refused."""
    rows = {row.question: row for row in pairs(same=300)}
    batch = [rows[q] for q in seeded_order(rows, seed=3)]
    gate = SequentialGate(Policy(catch=0.005), population=300, seed=3)
    gate.update(batch[64:128])
    with pytest.raises(RowsError, match="seeded order"):
        gate.update(batch[:64])
    with pytest.raises(RowsError, match="twice"):
        gate.update(batch[64:65])


def test_the_gate_refuses_rows_it_can_not_use() -> None:
    """Rows of the wrong form, beyond the population, or after the verdict are refused."""
    gate = SequentialGate(Policy(), population=2)
    with pytest.raises(RowsError, match="a Pair was expected"):
        gate.update(singles(correct=1, wrong=0))
    with pytest.raises(RowsError, match="the benchmark has 2"):
        gate.update(pairs(same=3))
    assert gate.update(pairs(same=2)) is not None
    with pytest.raises(ValueError, match="verdict is in"):
        gate.update(pairs(same=1))


def test_progress_counts_and_evidence() -> None:
    """Progress tells questions, losses, gains, drop, evidence and what is expected to remain."""
    gate = SequentialGate(Policy(), population=14_042)
    assert gate.progress.drop is None
    assert gate.progress.expected_remaining is None
    gate.update(pairs(same=58, lost=2, gained=4))
    progress = gate.progress
    assert (progress.questions, progress.losses, progress.gains) == (64, 2, 4)
    assert progress.drop == pytest.approx(-2 / 64)
    assert progress.log10_harmless > progress.log10_harm
    assert 0 < (progress.expected_remaining or 0) < 5000
    assert "lost 2  gained 4  drop -3.1" in str(progress)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(list(State)), min_size=2, max_size=300), st.integers(0, 2**32 - 1))
def test_an_equal_candidate_never_fails(states: list[State], seed: int) -> None:
    """A candidate that answers just as its reference never fails, at any size, by any rule."""
    rows = [Pair(f"q{i}", SUBJECTS[i % 4], state, state) for i, state in enumerate(states)]
    assert decide_fixed(rows, Policy()).kind in {"PASS", "INCONCLUSIVE"}
    assert sequential(rows, seed=seed).kind in {"PASS", "INCONCLUSIVE"}


answers = st.lists(
    st.tuples(st.sampled_from(list(State)), st.sampled_from(list(State))), min_size=2, max_size=200
)


def rows_of(states: list[tuple[State, State]]) -> list[Pair]:
    """Returns pairs of the given states."""
    return [Pair(f"q{i}", SUBJECTS[i % 4], one, two) for i, (one, two) in enumerate(states)]


@settings(max_examples=30, deadline=None)
@given(answers)
def test_swapping_the_sides_turns_a_drop_into_a_gain(states: list[tuple[State, State]]) -> None:
    """With the two sides swapped the drop changes its sign and losses become gains."""
    verdict = decide_fixed(rows_of(states), Policy())
    swapped = decide_fixed(rows_of([(two, one) for one, two in states]), Policy())
    if verdict.drop is None:
        assert swapped.drop is None
        return
    assert swapped.drop == pytest.approx(-verdict.drop)
    assert (swapped.interval, verdict.interval) != (None, None)
    if verdict.interval is not None and swapped.interval is not None:
        assert swapped.interval[:2] == pytest.approx(
            (-verdict.interval.high, -verdict.interval.low), abs=1e-9
        )
    assert not (verdict.evidence[0].rejected and swapped.evidence[0].rejected)


@settings(max_examples=30, deadline=None)
@given(answers, st.randoms(use_true_random=False))
def test_the_order_of_rows_is_nothing_to_the_fixed_verdict(
    states: list[tuple[State, State]], rng: random.Random
) -> None:
    """Shuffled rows give the same verdict, number by number."""
    rows = rows_of(states)
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert decide_fixed(shuffled, Policy()).to_dict() == decide_fixed(rows, Policy()).to_dict()


BEFORE = {
    discordant: decide_fixed(
        pairs(same=1500, wrong=400, lost=discordant[0], gained=discordant[1], subject="virology"),
        Policy(),
    ).kind
    for discordant in [(0, 0), (30, 30), (90, 65), (80, 20), (200, 0)]
}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(BEFORE)), st.integers(0, 60))
def test_errors_never_turn_a_verdict_around(discordant: tuple[int, int], errors: int) -> None:
    """Adding error rows leaves a verdict as it is or makes it INCONCLUSIVE."""
    lost, gained = discordant
    rows = pairs(same=1500, wrong=400, lost=lost, gained=gained, errors=errors, subject="virology")
    after = decide_fixed(rows, Policy()).kind
    assert set(BEFORE.values()) == {"PASS", "REGRESSION", "INCONCLUSIVE"}
    too_many = errors > 0.005 * len(rows)
    assert after in ({"INCONCLUSIVE"} if too_many else {BEFORE[discordant], "INCONCLUSIVE"})


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    discordant=st.sampled_from([(0, 0), (30, 10), (60, 45), (20, 20), (200, 20)]),
    unparsed=st.sampled_from([0, 90, 150, 300]),
    errors=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_errors_never_turn_a_quick_verdict_around(
    discordant: tuple[int, int], unparsed: int, errors: int, seed: int
) -> None:
    """Wherever error rows fall in the order, they delay a verdict or make it INCONCLUSIVE."""
    lost, gained = discordant
    rows = pairs(same=2700, wrong=200, lost=lost, gained=gained, unparsed=unparsed)
    before = sequential(rows, seed=seed).kind
    after = sequential(rows + pairs(errors=errors, subject="virology"), seed=seed).kind
    assert after in {before, "INCONCLUSIVE"} or before == "INCONCLUSIVE"


def test_a_pass_that_errors_put_off_stays_a_pass() -> None:
    """Answers that become unreadable after the deciding question don't overtake it."""
    fine = [Pair(f"f{i}", "virology", State.CORRECT, State.CORRECT) for i in range(400)]
    lost = [Pair(f"e{i}", "virology", State.CORRECT, State.ERROR) for i in range(4)]
    bad = [
        Pair(f"u{i}", "virology", State.WRONG, State.WRONG if i % 8 else State.UNPARSED)
        for i in range(600)
    ]
    kinds = set()
    for rows in (fine + bad, lost + fine + bad):
        gate = SequentialGate(Policy(), population=1010)
        while gate.verdict is None:
            gate.update(rows[:10])
            rows = rows[10:]
        kinds.add(gate.verdict.kind)
    assert kinds == {"PASS"}


@settings(max_examples=30, deadline=None)
@given(answers)
def test_a_verdict_is_plain_json(states: list[tuple[State, State]]) -> None:
    """Every verdict is JSON with finite numbers, the same keys, and an exit code."""
    whole = decide_fixed(rows_of(states), Policy()).to_dict()
    quick = sequential(rows_of(states)).to_dict()
    error = Verdict.of_error("no server", scope="suite").to_dict()
    assert whole.keys() == quick.keys() == error.keys()
    for verdict in (whole, quick):
        assert json.loads(json.dumps(verdict, allow_nan=False)) == verdict


@pytest.mark.parametrize(
    ("kind", "code"), [("PASS", 0), ("REGRESSION", 1), ("INCONCLUSIVE", 10), ("ERROR", 11)]
)
def test_exit_codes(kind: str, code: int) -> None:
    """Each kind has the exit code that CI is told about."""
    assert Verdict(kind=kind, scope="suite", reasons=("",)).exit_code == code  # type: ignore[arg-type]


@pytest.mark.parametrize(("on_inconclusive", "fails"), [("fail", True), ("pass", False)])
def test_an_inconclusive_verdict_fails_by_policy(on_inconclusive: str, fails: bool) -> None:
    """INCONCLUSIVE fails a test or passes it, as `on_inconclusive` says."""
    policy = Policy(on_inconclusive=on_inconclusive)  # type: ignore[arg-type]
    assert decide_fixed(pairs(same=50), policy).fails is fails


def test_reserved_error_share_raises_the_bar() -> None:
    """A share set aside for a second look makes the first one stricter."""
    rows = pairs(same=90, lost=13, subject="anatomy")
    reserved = Budget.whole(Policy()).reserve(0.5)
    assert judge_subject(rows, Policy(), n_subjects=57).kind == "lost"
    assert judge_subject(rows, Policy(), n_subjects=57, budget=reserved).kind == "too few to tell"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "0 answered questions"),
        (pairs(same=1), "1 answered questions"),
        (pairs(same=2)[:1] * 2, "in row 1 already"),
        ([*pairs(same=2), Pair("x", "", State.CORRECT, State.CORRECT)], "subject is empty"),
        ([*pairs(same=2), Pair("", "a", State.CORRECT, State.CORRECT)], "hash is empty"),
        ([*pairs(same=2), Pair("x", "a", "right", State.CORRECT)], "four answer states"),  # type: ignore[arg-type]
    ],
)
def test_rows_that_can_not_be_judged(rows: list[Pair], says: str) -> None:
    """Bad rows are an error that names them, never a verdict."""
    with pytest.raises(RowsError, match=says):
        decide_fixed(rows, Policy())


def test_pairing_is_by_content() -> None:
    """Two runs are joined by question hash, in the candidate's order, and must cover the same."""
    ours, theirs = singles(correct=2, wrong=1), singles(correct=1, wrong=2)
    joined = pair_up(reversed(theirs), ours)
    assert [pair.question for pair in joined] == [row.question for row in ours]
    assert [pair.reference for pair in joined] == [row.candidate for row in theirs]
    with pytest.raises(RowsError, match="1 only in the reference, 0 only in the candidate"):
        pair_up(theirs, ours[:2])
    with pytest.raises(RowsError, match="twice"):
        pair_up(theirs, ours + ours)
    moved = [row._replace(subject="virology") for row in theirs]
    with pytest.raises(RowsError, match="other subjects"):
        pair_up(moved, ours)


@pytest.mark.parametrize(
    "call",
    [
        lambda: decide_fixed(pairs(same=9), Policy(tolerate=0.03)),
        lambda: SequentialGate(Policy(tolerate=0.02), population=9),
        lambda: Floor(65.0),
        lambda: decide_floor(singles(correct=3, wrong=1), Floor(0.01), Policy()),
        lambda: judge_subject(pairs(same=9), Policy(), n_subjects=57),
    ],
)
def test_contradictions_are_errors(call: Callable[[], object]) -> None:
    """A policy, floor or call that contradicts itself is an error, never a verdict."""
    with pytest.raises(ConfigError):
        call()
