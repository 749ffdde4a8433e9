"""How often the gate errs and how many questions it needs, by simulation.

    python bench/operating_characteristics.py            # about four minutes on one core
    python bench/operating_characteristics.py --quick    # half a minute, for a look

Writes `operating_characteristics.md` and `.svg` beside this file (with --quick to a directory
of your choice, `--out`). Needs matplotlib for the plot. Exits with 1 if an error rate is above
what is stated by more than three standard errors of the simulation.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import special

from capgate.answers import AnswerState
from capgate.gate import Budget, Pair, Policy, decide_fixed, stats
from capgate.gate.race import BATCH, Outcome, Race, Scale, run_orders

POLICY = Policy()
POOLED = Budget(total=0.05, pooled=0.05, subjects=0.0, unparsed=0.0)
"""All of the error share on the pooled test, as the stated operating characteristics have it."""

DISCORDANCES = (0.02, 0.05, 0.10, 0.20, 0.40)
DROPS = (0.0, 0.01, 0.02, 0.04, 0.05, 0.10)
MMLU = 14_042
SIZES = (500, 2_000, MMLU)
SMALL = (228, *SIZES)
"""Also the bundled sample: the fewer the questions, the more luck there is in their answers."""

STATED_QUESTIONS = {
    (0.05, 0.0): 1000,
    (0.10, 0.0): 1750,
    (0.20, 0.0): 2950,
    (0.10, 0.02): 1550,
    (0.10, 0.05): 300,
    (0.10, 0.10): 100,
}
"""Mean questions of a plain grid mixture over random orders of all of MMLU, to be bettered."""

# Test questions of MMLU's 57 subjects, in alphabetical order.
MMLU_SIZES = (
    *(100, 135, 152, 100, 265, 144, 100, 100, 100, 173, 102, 100, 235, 114, 145, 378, 126, 100),
    *(310, 203, 100, 165, 198, 193, 390, 270, 238, 151, 545, 216, 204, 237, 223, 131, 121, 108),
    *(163, 112, 103, 234, 100, 783, 346, 895, 306, 311, 324, 282, 1534, 272, 612, 110, 245, 201),
    *(100, 166, 171),
)


@dataclass(frozen=True)
class Cell:
    """One simulated cell.

    Attributes:
        rule: `redrawn`, `orders` (both sequential) or `fixed`.
        n: Questions of the benchmark.
        discordance: Share of questions where the two sides differ.
        drop: True drop.
        shares: Share of the runs by verdict.
        runs: How many runs.
        mean: Mean questions until the verdict.
        q90: 90 % quantile of the questions.
    """

    rule: str
    n: int
    discordance: float
    drop: float
    shares: dict[str, float]
    runs: int
    mean: float
    q90: float

    @property
    def wrong(self) -> float | None:
        """Share of wrong verdicts; None between `tolerate` and `catch`, where none is wrong."""
        if self.drop <= POLICY.tolerate:
            return self.shares["REGRESSION"]
        return self.shares["PASS"] if self.drop >= POLICY.catch else None

    @property
    def holds(self) -> bool:
        """Whether the error rate is within its limit, allowing for the simulation's own error."""
        return self.wrong is None or self.wrong <= 0.05 + 3 * sqrt(0.05 * 0.95 / self.runs)


def population(n: int, discordance: float, drop: float) -> npt.NDArray[np.int8]:
    """Returns coded answers with exactly that discordance and drop (to one question)."""
    net = round(n * drop)
    both = max(round(n * discordance), net)
    both += (both - net) % 2
    lost = (both + net) // 2
    rows = np.zeros((3, n), dtype=np.int8)
    rows[0, :lost], rows[0, lost:both], rows[2] = 1, -1, 1
    return rows


def orders_of(n: int, discordance: float, drop: float, *, orders: int, seed: int) -> Cell:
    """Runs the quick gate over random orders of a fixed benchmark with exactly that drop."""
    found = run_orders(
        Scale.paired(), POLICY, POOLED, population(n, discordance, drop), orders=orders, seed=seed
    )
    means = found.mean_questions, found.q90_questions
    return Cell("orders", n, discordance, drop, found.verdicts, orders, *means)


def redrawn(n: int, discordance: float, drop: float, *, orders: int, seed: int) -> Cell:
    """Runs the quick gate where each run draws its N answers anew.

    The drop is an expected one: each run's questions have a drop of their own by chance.
    """
    rng = np.random.default_rng(seed)
    lost = (discordance + drop) / 2
    race = Race(Scale.paired(), POLICY, POOLED, population=n, orders=orders)
    for start in range(0, n, BATCH):
        if not len(race.running):
            break
        drawn = rng.random((len(race.running), min(BATCH, n - start)))
        values = (drawn < lost).astype(float) - ((drawn >= lost) & (drawn < discordance))
        race.update(values, np.zeros(values.shape), np.ones(values.shape, dtype=bool))
    shares = {
        "PASS": float(np.mean(race.outcome == Outcome.HARMLESS)),
        "REGRESSION": float(np.mean(race.outcome == Outcome.HARM)),
        "INCONCLUSIVE": float(np.mean(race.outcome == Outcome.UNDECIDED)),
    }
    means = float(race.asked.mean()), float(np.quantile(race.asked, 0.9))
    return Cell("redrawn", n, discordance, drop, shares, orders, *means)


def mcnemar(losses: npt.NDArray[np.int64], gains: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Returns `stats.mcnemar_exact` of many counts at once."""
    p: npt.NDArray[np.float64] = np.where(
        losses == 0, 1.0, special.betainc(np.maximum(losses, 1), gains + 1, 0.5)
    )
    return p


def refuted_catch(
    losses: npt.NDArray[np.int64], gains: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.bool_]:
    """Returns where `stats.tango_p_below` refutes a drop of `catch`, of many counts at once."""
    score = stats.tango_score(losses, gains, n, POLICY.catch, continuity=stats.HALF_A_QUESTION)
    refuted: npt.NDArray[np.bool_] = special.ndtr(score) <= POLICY.miss
    return refuted


def fixed_shares(
    losses: npt.NDArray[np.int64], gains: npt.NDArray[np.int64], n: int, share: float
) -> dict[str, float]:
    """Returns the pooled fixed rule's verdicts; `check_fixed` holds it against the gate."""
    harm = mcnemar(losses, gains) <= share
    harmless = refuted_catch(losses, gains, n)
    above = (losses - gains) / n > (POLICY.tolerate + POLICY.catch) / 2
    fails = harm & (~harmless | above)
    passes = harmless & ~fails
    return {
        "PASS": float(passes.mean()),
        "REGRESSION": float(fails.mean()),
        "INCONCLUSIVE": float((~fails & ~passes).mean()),
    }


def check_fixed(seed: int) -> None:
    """Makes sure that the vectorised rule is the gate's own, on random counts."""
    rng = np.random.default_rng(seed)
    right, wrong = AnswerState.CORRECT, AnswerState.WRONG
    for _ in range(60):
        n, rate = int(rng.integers(200, 3000)), float(rng.uniform(0.01, 0.3))
        lost, gained, _ = rng.multinomial(n, [rate * 0.6, rate * 0.4, 1 - rate])
        pairs = [
            Pair(str(i), "all", right if i < lost or i >= lost + gained else wrong, right)
            if i >= lost
            else Pair(str(i), "all", right, wrong)
            for i in range(n)
        ]
        kind = decide_fixed(pairs, POLICY, budget=POOLED).kind
        shares = fixed_shares(np.array([lost]), np.array([gained]), n, POOLED.pooled)
        if shares[kind] != 1.0:
            raise AssertionError(f"{lost} lost, {gained} gained of {n}: {kind}, not {shares}")


def fixed(n: int, discordance: float, drop: float, *, runs: int, seed: int) -> Cell:
    """Draws answers to a whole benchmark many times and applies the fixed rule."""
    rng = np.random.default_rng(seed)
    gain = (discordance - drop) / 2
    draws = rng.multinomial(n, [gain + drop, gain, 1 - discordance], size=runs)
    shares = fixed_shares(draws[:, 0], draws[:, 1], n, POOLED.pooled)
    return Cell("fixed", n, discordance, drop, shares, runs, n, n)


def suite_false_alarms(discordance: float, *, runs: int, seed: int) -> tuple[float, float, float]:
    """Returns how often an unchanged model fails the whole suite, its pooled test, a subject.

    57 subjects of MMLU's real sizes, the shares of `Budget.whole`. One answer in a hundred is
    unparsed on each side by turns.
    """
    rng = np.random.default_rng(seed)
    budget = Budget.whole(POLICY)
    half = discordance / 2
    lost = np.zeros((runs, len(MMLU_SIZES)), dtype=np.int64)
    gained = np.zeros_like(lost)
    for index, size in enumerate(MMLU_SIZES):
        draws = rng.multinomial(size, [half, half, 1 - discordance], size=runs)
        lost[:, index], gained[:, index] = draws[:, 0], draws[:, 1]
    # Holm rejects something exactly where the smallest p-value is at its Bonferroni share.
    subject = mcnemar(lost, gained).min(axis=1) <= budget.per_subject(len(MMLU_SIZES))
    b, c, n = lost.sum(axis=1), gained.sum(axis=1), sum(MMLU_SIZES)
    harm = mcnemar(b, c) <= budget.pooled
    harmless = refuted_catch(b, c, n)
    pooled = harm & (~harmless | ((b - c) / n > (POLICY.tolerate + POLICY.catch) / 2))
    turns = rng.multinomial(n, [0.01, 0.01, 0.98], size=runs)
    rise = (turns[:, 0] - turns[:, 1]) / n >= POLICY.max_unparsed_increase
    unparsed = rise & (mcnemar(turns[:, 0], turns[:, 1]) <= budget.unparsed)
    failed = subject | pooled | unparsed
    return float(failed.mean()), float(pooled.mean()), float(subject.mean())


def grid(*, quick: bool, seed: int) -> Iterator[Cell]:
    """Runs every cell in which the drop is at most the discordance."""
    for n in SMALL:
        for discordance in DISCORDANCES:
            for drop in DROPS:
                if drop > discordance:
                    continue
                judged = drop in (POLICY.tolerate, POLICY.catch)
                stated = (discordance, drop) in STATED_QUESTIONS and n == MMLU
                orders = (400 if judged else 100) if quick else (5000 if judged else 2000)
                seed += 1
                if judged or n == MMLU:
                    yield redrawn(n, discordance, drop, orders=orders, seed=seed)
                if (judged and n in SIZES) or stated:
                    yield orders_of(n, discordance, drop, orders=orders, seed=seed)
                if n in SIZES:
                    yield fixed(n, discordance, drop, runs=20_000 if quick else 100_000, seed=seed)


def table(cells: list[Cell]) -> Iterator[str]:
    """Yields the rows of one table."""
    yield "| N | discordance | true drop | PASS | REGRESSION | INCONCLUSIVE | wrong | questions |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for cell in cells:
        wrong = "–"
        if cell.wrong is not None:
            error = 1.96 * sqrt(max(cell.wrong * (1 - cell.wrong), 1 / cell.runs) / cell.runs)
            wrong = f"{cell.wrong:.2%} ± {error:.2%}{'' if cell.holds else ' **above**'}"
        questions = "all"
        if cell.rule != "fixed":
            questions = f"{cell.mean:,.0f} (90 %: {cell.q90:,.0f})"
        shares = " | ".join(f"{cell.shares[k]:.1%}" for k in ("PASS", "REGRESSION", "INCONCLUSIVE"))
        yield (
            f"| {cell.n:,} | {cell.discordance:g} | {cell.drop:g} | {shares} "
            f"| {wrong} | {questions} |"
        )


def report(cells: list[Cell], *, quick: bool, seed: int) -> Iterator[str]:
    """Yields the lines of the committed page."""
    yield "# Operating characteristics of the gate"
    yield ""
    flag = " --quick" if quick else ""
    yield f"Remade by `python bench/operating_characteristics.py{flag}` (seed {seed})."
    yield "Policy: tolerate 0, catch 0.02, false alarm 0.05 and miss 0.05, all spent on the pooled"
    yield "test; batches of 64."
    yield "“Wrong” is REGRESSION at a drop of 0 and PASS at a drop of 0.02 or more, with a 95 %"
    yield "interval of the simulation; it is stated to be at most 5 %."
    yield ""
    yield "![Mean questions and wrong verdicts](operating_characteristics.svg)"
    yield ""
    yield "## Questions needed, against a plain grid of bets"
    yield ""
    yield "Random orders of all of MMLU's 14,042 questions, a fixed list of answers with exactly"
    yield "that drop; in the last two columns the same where each run draws its answers anew."
    yield ""
    yield "| discordance | true drop | wrong | plain grid | capgate | wrong, redrawn | redrawn |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for key, stated in STATED_QUESTIONS.items():
        at = {c.rule: c for c in cells if (c.n, c.discordance, c.drop) == (MMLU, *key)}
        fixed_list, drawn = at["orders"], at["redrawn"]
        yield (
            f"| {key[0]:g} | {key[1]:g} | {fixed_list.wrong:.2%} | {stated:,} "
            f"| {fixed_list.mean:,.0f} | {drawn.wrong:.2%} | {drawn.mean:,.0f} |"
        )
    yield ""
    yield "## False alarms of a quick run by the number of questions"
    yield ""
    yield "A model that is unchanged in expectation, its answers drawn anew in each run; stated: at"
    yield "most 5 %. Runs that put all N questions undecided are INCONCLUSIVE (in brackets)."
    yield ""
    yield "| discordance | " + " | ".join(f"N = {n:,}" for n in SMALL) + " |"
    yield "|---:|" + "---:|" * len(SMALL)
    for discordance in DISCORDANCES:
        row = [
            f"{cell.shares['REGRESSION']:.1%} ({cell.shares['INCONCLUSIVE']:.0%})"
            for cell in cells
            if (cell.rule, cell.discordance, cell.drop) == ("redrawn", discordance, 0.0)
        ]
        yield f"| {discordance:g} | " + " | ".join(row) + " |"
    yield ""
    yield "## Whole suite: 57 subjects of MMLU's sizes, the pooled and the unparsed test"
    yield ""
    yield "An unchanged model, answers drawn anew; stated: at most 5 %."
    yield ""
    yield "| discordance | fails | by the pooled test | by a subject |"
    yield "|---:|---:|---:|---:|"
    for discordance in DISCORDANCES:
        rates = suite_false_alarms(discordance, runs=4000 if quick else 40_000, seed=seed)
        yield f"| {discordance:g} | " + " | ".join(f"{rate:.2%}" for rate in rates) + " |"
    yield ""
    yield "## Sequential rule, answers drawn anew"
    yield ""
    yield "What the rule is proven for (Ville's inequality): N independent draws in each run. A"
    yield "share above 5 % within its interval is the simulation's own error."
    yield ""
    yield from table([cell for cell in cells if cell.rule == "redrawn"])
    yield ""
    yield "## Sequential rule, random orders of a fixed list of answers"
    yield ""
    yield "Not proven but measured: a list that has exactly the drop, drawn without replacement."
    yield "What was lost by chance the rest must gain, so there are fewer wrong verdicts. Drops are"
    yield "rounded to whole questions, so the smallest N has them only nearly."
    yield ""
    yield from table([cell for cell in cells if cell.rule == "orders"])
    yield ""
    yield "## Fixed rule"
    yield ""
    yield "Answers to all N questions drawn anew in each of the runs."
    yield ""
    yield from table([cell for cell in cells if cell.rule == "fixed"])


def plot(cells: list[Cell], path: Path) -> None:
    """Draws mean questions, and wrong verdicts against their limit."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "capgate"
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    large = [cell for cell in cells if cell.rule == "redrawn" and cell.n == MMLU]
    for drop in DROPS:
        line = [cell for cell in large if cell.drop == drop]
        x = [cell.discordance for cell in line]
        left.plot(x, [cell.mean for cell in line], marker="o", label=f"drop {drop:g}")
    known = list(STATED_QUESTIONS.items())
    left.scatter([q for (q, _), _ in known], [m for _, m in known], c="k", marker="x", zorder=3)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="discordance",
        ylabel="mean questions",
        title="Questions needed of 14,042, answers redrawn (×: plain grid)",
    )
    left.legend(fontsize=8)
    judged = [cell for cell in cells if cell.wrong is not None]
    for rule, marker in (("redrawn", "o"), ("orders", "^"), ("fixed", "s")):
        mine = [cell for cell in judged if cell.rule == rule]
        for drop, colour in ((0.0, "C0"), (0.02, "C2")):
            some = [cell for cell in mine if cell.drop == drop]
            right.scatter(
                [cell.discordance for cell in some],
                [100 * (cell.wrong or 0.0) for cell in some],
                marker=marker,
                c=colour,
                alpha=0.7,
                label=f"{rule}, drop {drop:g}",
            )
    right.axhline(5, c="k", lw=1, ls="--")
    right.set(
        xscale="log", xlabel="discordance", ylabel="%", title="Wrong verdicts (stated: at most 5 %)"
    )
    right.set_ylim(-0.3, 6.8)
    right.legend(fontsize=8, ncols=2, loc="upper center")
    for axes in (left, right):
        axes.set_xticks(DISCORDANCES, [f"{q:g}" for q in DISCORDANCES])
        axes.set_xticks([], minor=True)
    figure.savefig(path, metadata={"Date": None})
    # Matplotlib ends lines of path data with blanks, which no editor leaves alone.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def main() -> int:
    """Remakes table and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer orders, for a look")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory")
    parser.add_argument("--seed", type=int, default=20_000)
    args = parser.parse_args()
    started, worked = time.monotonic(), time.process_time()
    check_fixed(args.seed)
    cells = list(grid(quick=args.quick, seed=args.seed))
    text = "\n".join(report(cells, quick=args.quick, seed=args.seed)) + "\n"
    (args.out / "operating_characteristics.md").write_text(text, encoding="utf-8")
    plot(cells, args.out / "operating_characteristics.svg")
    above = [cell for cell in cells if not cell.holds]
    took = f"{time.monotonic() - started:.0f} s ({time.process_time() - worked:.0f} s of CPU)"
    print(f"{len(cells)} cells in {took}, {len(above)} above the limit")
    for cell in above:
        print(f"  {cell}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
