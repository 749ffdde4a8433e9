"""Error rates and questions needed, simulated at fixed seeds (the full grid is in `perf/`)."""

from __future__ import annotations

import importlib
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, SUBJECTS
from capgate.common.answers import AnswerState as State
from capgate.gate import Budget, Pair, Policy, SequentialGate, decide_fixed, stats
from capgate.gate.orders import BATCH, run_orders
from capgate.gate.race import Outcome, Race
from capgate.gate.scale import Scale, confidence_sequence
from capgate.gate.sequential import Bet, EProcess, Spread

ALL_POOLED = Budget(total=0.05, pooled=0.05, subjects=0.0, unparsed=0.0)
MMLU = 14_042


def population(n: int, discordance: float, drop: float) -> npt.NDArray[np.int8]:
    """Returns coded rows of a benchmark with exactly that discordance and drop."""
    lost, gained = round(n * (discordance + drop) / 2), round(n * (discordance - drop) / 2)
    rows = np.zeros((3, n), dtype=np.int8)
    rows[0, :lost], rows[0, lost : lost + gained], rows[2] = 1, -1, 1
    return rows


@pytest.mark.parametrize(
    ("discordance", "drop", "wrong", "limit", "questions"),
    [
        (0.05, 0.00, Outcome.HARM, 0.05, 1000),
        (0.10, 0.00, Outcome.HARM, 0.05, 1750),
        (0.20, 0.00, Outcome.HARM, 0.05, 2950),
        (0.10, 0.02, Outcome.HARMLESS, 0.05, 1550),
        (0.10, 0.05, Outcome.HARMLESS, 0.01, 300),
        (0.10, 0.10, Outcome.HARMLESS, 0.01, 100),
    ],
)
def test_error_rates_and_mean_questions(
    discordance: float, drop: float, wrong: Outcome, limit: float, questions: float
) -> None:
    """Wrong verdicts and questions needed are within what is stated, but for noise."""
    found = run_orders(
        Scale.paired(),
        Policy(),
        ALL_POOLED,
        population(MMLU, discordance, drop),
        orders=400,
        seed=2,
    )
    error = found.outcomes.get(wrong, 0.0)
    assert error <= limit + 2.5 * sqrt(limit * (1 - limit) / 400)
    # Nine of ten lie under more than a standard deviation above the mean; the figure is rounded.
    noise = (found.q90_questions - found.mean_questions) / sqrt(400)
    assert found.mean_questions <= 1.02 * questions + 2 * noise
    assert found.verdicts["INCONCLUSIVE"] <= 0.01


@pytest.mark.parametrize("discordance", [0.05, 0.2])
@pytest.mark.parametrize("n", [228, 500, 2000])
@pytest.mark.parametrize(("drop", "wrong"), [(0.0, Outcome.HARM), (0.02, Outcome.HARMLESS)])
def test_error_rates_where_answers_are_drawn_anew(
    n: int, discordance: float, drop: float, wrong: Outcome
) -> None:
    """A model that is unchanged (or worse) only in expectation: N questions have their own luck."""
    rng, orders = np.random.default_rng(11), 1000
    race = Race(Scale.paired(), Policy(), ALL_POOLED, population=n, orders=orders)
    chances = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    for start in range(0, n, BATCH):
        shape = (len(race.running), min(BATCH, n - start))
        drawn = rng.choice([1.0, -1.0, 0.0], p=chances, size=shape)
        race.update(drawn, np.zeros(shape), np.ones(shape, dtype=bool))
    assert np.mean(race.outcome == wrong) <= 0.05 + 2.5 * sqrt(0.05 * 0.95 / orders)
    assert np.mean(race.outcome == Outcome.UNDECIDED) > (0.5 if n == 228 else 0.0)


def test_an_unchanged_model_rarely_fails_the_whole_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """57 subjects of MMLU's sizes, 4 domains, all tests: no more than 5 % fail together."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "perf"))
    simulations = importlib.import_module("group_simulations")
    for discordance in (0.05, 0.4):
        found = simulations.suite_false_alarms(discordance, runs=2000, seed=13)
        limits = [rate.limit for rate in found]
        assert limits == pytest.approx([0.05, 0.025, 0.009375, 0.003125, 0.0125])
        assert all(rate.holds for rate in found)

    # A few through the gate itself, of two models that differ on two fifths of the questions.
    rng, failed = np.random.default_rng(14), 0
    correct, wrong = State.CORRECT, State.WRONG
    kinds = [(correct, wrong), (wrong, correct), (correct, correct)]
    for _ in range(10):
        drawn = iter(rng.choice(3, p=[0.2, 0.2, 0.6], size=MMLU).tolist())
        rows = [
            Pair(f"{subject}-{i}", subject, *kinds[next(drawn)])
            for subject, size in zip(SUBJECTS, simulations.MMLU_SIZES, strict=True)
            for i in range(size)
        ]
        failed += decide_fixed(rows, Policy(), domains=DOMAIN_OF).kind == "REGRESSION"
    assert failed <= 10 * 0.05 + 3 * sqrt(10 * 0.05 * 0.95)


def test_a_loss_in_one_domain_is_seen_far_oftener_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """STEM loses 3 points: no subject shows that, and its domain does nearly always."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "perf"))
    simulations = importlib.import_module("group_simulations")
    found = simulations.sight_of(simulations.MMLU_SIZES, "stem", 0.1, 0.03, runs=2000, seed=16)
    assert found.named >= 0.95
    assert found.fails["now"] >= 0.95 > 0.75 > found.fails["before"]
    assert found.subject["now"] >= found.subject["before"] - 0.03


@pytest.mark.parametrize("n", [228, 500])
@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_a_steady_share_of_unreadable_answers_rarely_fails(
    monkeypatch: pytest.MonkeyPatch, n: int, rate: float
) -> None:
    """Where many answers are unreadable on either side, few questions don't fail the candidate."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "perf"))
    simulations = importlib.import_module("gate_simulations")
    found = simulations.unparsed_alarms(n, rate, runs=1500, seed=15)
    assert [one.what for one in found if not one.holds] == []


@pytest.mark.parametrize(("accuracy", "wrong"), [(0.70, "REGRESSION"), (0.68, "PASS")])
def test_error_rates_against_a_floor(accuracy: float, wrong: str) -> None:
    """Against a floor as well, neither error is above its share."""
    rows = np.zeros((3, 4000), dtype=np.int8)
    rows[0, : round(4000 * (1 - accuracy))], rows[2] = 1, 1
    found = run_orders(Scale.floor(0.7), Policy(), ALL_POOLED, rows, orders=400, seed=4)
    assert found.verdicts[wrong] <= 0.05 + 2.5 * sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(
    ("n", "discordance", "tolerate"),
    [(128, 0.05, 0.0), (128, 0.25, 0.0), (512, 0.1, 0.0), (1280, 0.4, 0.0), (1500, 0.1, 0.05)],
)
def test_the_drop_that_a_quick_run_names_is_seen_as_often_as_said(
    n: int, discordance: float, tolerate: float
) -> None:
    """At the smallest visible drop a run of that length ends in REGRESSION about 95 % of times."""
    policy = Policy(tolerate=tolerate, catch=tolerate + 0.02)
    lost, gained = round(n * (discordance + 0.01) / 2), round(n * (discordance - 0.01) / 2)
    states = [(State.CORRECT, State.WRONG)] * lost + [(State.WRONG, State.CORRECT)] * gained
    states += [(State.CORRECT, State.CORRECT)] * (n - lost - gained)
    gate = SequentialGate(policy, population=10 * n, budget=ALL_POOLED)
    np.random.default_rng(1).shuffle(states)
    gate.update([Pair(str(i), "virology", *both) for i, both in enumerate(states)])
    drop = gate.finish("enough was asked").smallest_visible_drop
    assert drop is not None

    scale, orders, rng = Scale.paired(), 1000, np.random.default_rng(12)
    values, chances = scale.chances(drop, discordance)
    race = Race(scale, policy, ALL_POOLED, population=n, orders=orders)
    for start in range(0, n, BATCH):
        shape = (len(race.running), min(BATCH, n - start))
        race.update(rng.choice(values, p=chances, size=shape), np.zeros(shape), np.ones(shape) > 0)
    assert np.mean(race.outcome == Outcome.HARM) == pytest.approx(0.95, abs=0.035)


def test_errors_leave_the_guarantee_as_it_is() -> None:
    """With questions missing at random the false alarms stay within their rate."""
    rows = population(MMLU, 0.1, 0.0)
    rows[:, np.random.default_rng(0).choice(MMLU, 60, replace=False)] = 0
    found = run_orders(Scale.paired(), Policy(), ALL_POOLED, rows, orders=400, seed=5)
    assert found.verdicts["REGRESSION"] <= 0.05 + 2.5 * sqrt(0.05 * 0.95 / 400)


def test_fixed_rule_error_rates() -> None:
    """At a fixed size, false alarms and misses stay within their rates over small and large n."""
    rng = np.random.default_rng(6)
    for n in (500, MMLU):
        for discordance in (0.02, 0.1, 0.4):
            null = rng.multinomial(n, [discordance / 2, discordance / 2, 1 - discordance], 4000)
            alarms = np.mean([stats.mcnemar_exact(b, c) <= 0.025 for b, c, _ in null])
            half = (discordance - 0.02) / 2
            lost = rng.multinomial(n, [half + 0.02, half, 1 - discordance], 20_000)
            misses = np.mean(
                stats.tango_score(lost[:, 0], lost[:, 1], n, 0.02, continuity=0.5) <= -1.6449
            )
            assert alarms <= 0.025 + 2.5 * sqrt(0.025 * 0.975 / 4000)
            assert misses <= 0.05 + 2.5 * sqrt(0.05 * 0.95 / 20_000)


@pytest.mark.parametrize(("null_mean", "enough"), [(0.0, 1000.0), (0.1, 10.0)])
def test_an_e_process_is_fair_at_its_boundary(null_mean: float, enough: float) -> None:
    """At the hypothesis' own mean the expected wealth is 1 after any number of questions."""
    rng, orders = np.random.default_rng(7), 20_000
    half = null_mean / 2
    values = rng.choice([1.0, -1.0, 0.0], p=[0.2 + half, 0.2 - half, 0.6], size=(orders, 80))
    process = EProcess(
        null_mean=null_mean,
        low=-1.0,
        high=1.0,
        log_enough=np.log(enough),
        bets=[Bet(0.05, 0.5), Bet(0.2, 0.5)],
        spread=Spread(0.3, 20),
        orders=orders,
    )
    wealth = np.exp(process.update(values))
    for after in (0, 19, 79):
        error = wealth[:, after].std() / sqrt(orders)
        assert wealth[:, after].mean() == pytest.approx(1.0, abs=4 * error)
    assert np.mean(process.log_peak >= np.log(10)) <= 0.1 + 3 * sqrt(0.09 / orders)


def test_no_more_is_staked_than_is_lacking() -> None:
    """Wealth reaches what suffices to the digit, and stays there whatever comes."""
    process = Scale.paired().against_at_most(0.0, gap=0.02, share=0.05)
    values = np.array([[1.0] * 40 + [-1.0] * 40])
    path = process.update(values)[0]
    reached = path == -np.log(0.05)
    assert path.max() == process.log_peak[0] == -np.log(0.05)
    assert not reached[0]
    assert reached[reached.argmax() :].all()


def test_a_lost_wealth_is_finite() -> None:
    """However much speaks against a gambler, the logarithm of what is left is a number."""
    process = Scale.paired().against_at_most(0.0, gap=0.02, share=0.05)
    values = np.full((1, 5000), -1.0)
    assert np.isfinite(process.update(values)).all()


@pytest.mark.parametrize(("orders", "share"), [(0, 0.05), (1, 1.0)])
def test_an_e_process_that_can_not_play_is_refused(orders: int, share: float) -> None:
    """Without an order, or with nothing to reach, there can be no evidence."""
    with pytest.raises(ValueError, match="e-process"):
        Scale.paired().against_at_most(0.0, gap=0.02, share=share, orders=orders)


def test_many_orders_need_no_more_memory_than_some() -> None:
    """Orders held a few at a time come out as they would all at once."""
    rows, policy = population(1000, 0.1, 0.02), Policy()
    few, all_at_once = (
        run_orders(Scale.paired(), policy, ALL_POOLED, rows, orders=23, seed=-1, held=held)
        for held in (5000, 2**24)
    )
    assert few == all_at_once


def test_batches_are_only_looks() -> None:
    """The evidence after a number of questions is the same in whatever batches they came."""
    values = np.random.default_rng(8).permutation(population(1000, 0.2, 0.05)[0]).astype(float)
    ends = []
    for size in (1, 64, 1000):
        process = Scale.paired().against_at_most(0.0, gap=0.02, share=1e-9)
        for start in range(0, 1000, size):
            part = values[None, start : start + size]
            process.update(part)
        ends.append(float(process.log_peak[0]))
    assert ends == pytest.approx([ends[0]] * 3, abs=1e-9)


@pytest.mark.parametrize(("discordance", "drop"), [(0.1, 0.03), (0.3, -0.02), (0.02, 0.0)])
def test_the_confidence_sequence_holds_the_truth(discordance: float, drop: float) -> None:
    """At its stopping time the interval holds the true drop at least as often as it says."""
    rng, held = np.random.default_rng(9), 0
    chances = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    for _ in range(40):
        values = rng.choice([1.0, -1.0, 0.0], p=chances, size=250)
        low, high, _ = confidence_sequence(Scale.paired(), values, gap=0.02, below=0.05, above=0.05)
        held += low <= drop <= high
    assert held >= 40 * 0.9 - 2.5 * sqrt(40 * 0.09)


def test_unreadable_answers_do_not_raise_false_alarms() -> None:
    """Where as many answers became readable as unreadable, the watch on them stays quiet."""
    rows = population(MMLU, 0.1, 0.0)
    rows[1] = np.random.default_rng(1).permutation(population(MMLU, 0.06, 0.0)[0])
    budget = Budget.quick(Policy())
    found = run_orders(Scale.paired(), Policy(), budget, rows, orders=400, seed=3)
    assert found.outcomes.get(Outcome.UNPARSED, 0.0) <= 0.0125 + 2.5 * sqrt(0.0125 / 400)
    rows[1] = np.random.default_rng(1).permutation(population(MMLU, 0.06, 0.06)[0])
    found = run_orders(Scale.paired(), Policy(), budget, rows, orders=100, seed=3)
    assert found.verdicts["REGRESSION"] >= 0.95


def test_a_race_follows_each_order_by_itself() -> None:
    """Orders side by side are decided as they would be alone."""
    rng = np.random.default_rng(10)
    drawn = rng.permuted(np.tile(population(4000, 0.1, 0.02)[0], (8, 1)), axis=1).astype(float)
    scored = np.ones(drawn.shape, dtype=bool)

    def play(orders: npt.NDArray[np.float64]) -> Race:
        race = Race(Scale.paired(), Policy(), ALL_POOLED, population=4000, orders=len(orders))
        for start in range(0, 4000, 64):
            part = orders[race.running, start : start + 64]
            if len(part):
                race.update(part, np.zeros(part.shape), scored[: len(part), start : start + 64])
        return race

    together = play(drawn)
    alone = [play(drawn[i : i + 1]) for i in range(8)]
    assert together.outcome.tolist() == [int(race.outcome[0]) for race in alone]
    assert together.asked.tolist() == [int(race.asked[0]) for race in alone]
