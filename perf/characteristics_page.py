"""The page and the plot of the gate's operating characteristics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from characteristics_cells import (
    DECIDE_SECONDS,
    DISCORDANCES,
    DROPS,
    MMLU,
    SMALL,
    STATED_QUESTIONS,
    TOLERATED_CELLS,
    UNPARSED_CELLS,
)
from gate_audit import Audit
from gate_audit import lines as audit_lines
from gate_simulations import Cell, Rate
from group_simulations import Sight


def table(cells: list[Cell]) -> Iterator[str]:
    """Yields the rows of one table."""
    yield "| N | discordance | true drop | PASS | REGRESSION | INCONCLUSIVE | wrong | questions |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for cell in cells:
        wrong = "–" if cell.wrong is None else str(cell.wrong)
        questions = "all"
        if cell.rule != "fixed":
            questions = f"{cell.mean:,.0f} (90 %: {cell.q90:,.0f})"
        shares = " | ".join(f"{cell.shares[k]:.1%}" for k in ("PASS", "REGRESSION", "INCONCLUSIVE"))
        yield (
            f"| {cell.n:,} | {cell.discordance:g} | {cell.drop:g} | {shares} "
            f"| {wrong} | {questions} |"
        )


def report(
    cells: list[Cell],
    tolerant: list[Cell],
    suites: list[tuple[Rate, ...]],
    sights: list[Sight],
    unparsed: list[tuple[Rate, ...]],
    tolerated: list[Rate],
    audited: Audit,
    seconds: float,
    *,
    quick: bool,
    seed: int,
) -> Iterator[str]:
    """Yields the lines of the committed page."""
    yield "# Operating characteristics of the gate"
    yield ""
    flag = " --quick" if quick else ""
    yield f"Remade by `python perf/operating_characteristics.py{flag}` (seed {seed})."
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
            f"| {key[0]:g} | {key[1]:g} | {fixed_list.wrong} | {stated:,} "
            f"| {fixed_list.mean:,.0f} | {drawn.wrong} | {drawn.mean:,.0f} |"
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
    yield "## Whole suite: pooled and unparsed tests, 57 subjects of MMLU's sizes, four domains"
    yield ""
    yield "An unchanged model, answers drawn anew; stated: at most 5 % in all, and of subjects and"
    yield "domains together 1.25 %, which were the subjects' alone before domains were judged."
    yield ""
    yield "| discordance | fails | by the pooled test | by a subject | by a domain | by either |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for discordance, rates in zip(DISCORDANCES, suites, strict=True):
        yield f"| {discordance:g} | " + " | ".join(map(str, rates)) + " |"
    yield ""
    yield "## A loss in one domain alone"
    yield ""
    yield "How often a run fails, and how often it names a subject of the domain or the domain:"
    yield "before domains were judged, and now. All other domains are unchanged; 228 questions are"
    yield "the bundled ones, four of each subject."
    yield ""
    yield (
        "| N | domain | its drop | discordance | fails: before | now | a subject named: before "
        "| now | the domain named: now |"
    )
    yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|"
    for one in sights:
        shares = (one.fails["before"], one.fails["now"], *one.subject.values(), one.named)
        yield (
            f"| {one.n:,} | {one.domain} | {one.drop:g} | {one.discordance:g} | "
            + " | ".join(f"{share:.1%}" for share in shares)
            + " |"
        )
    yield ""
    yield "## Unreadable answers"
    yield ""
    yield "An unchanged model of whose answers a share is unparsed, anew in each run and on each"
    yield "side. Stated: at most 1 % by the watch of a quick run and 1.25 % by the fixed test, and"
    yield "4 and 5 % in all (without subjects)."
    yield ""
    yield "| N | unparsed | quick: watch | quick: all | fixed: test | fixed: all |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for (n, rate), found in zip(UNPARSED_CELLS, unparsed, strict=True):
        yield f"| {n:,} | {rate:.0%} | " + " | ".join(map(str, found)) + " |"
    yield ""
    yield "## A drop that is tolerated"
    yield ""
    yield "The fixed test at a true drop of what is tolerated, computed over all outcomes: its"
    yield "chance to fail, at the share of the pooled test and at that of one subject of 57. With"
    yield "few questions the exact tests have to stay well below their share."
    yield ""
    yield "| N | tolerate | discordance | share | fails |"
    yield "|---:|---:|---:|---:|---:|"
    for (n, tolerate, discordance, share), one in zip(TOLERATED_CELLS, tolerated, strict=True):
        yield f"| {n:,} | {tolerate:g} | {discordance:g} | {share:.3%} | {one.share:.3%} |"
    yield ""
    yield "The sequential rule at what is tolerated (“wrong” is REGRESSION) and at what must be"
    yield "caught (PASS), answers drawn anew:"
    yield ""
    yield from table(tolerant)
    yield ""
    yield from audit_lines(audited)
    yield "## Time"
    yield ""
    yield f"`capgate decide --orders 100` on {MMLU:,} rows of a discordance of 0.2 takes less than"
    yield f"{int(seconds) + 1} s of one core, start and reading included; stated: at most"
    yield f"{DECIDE_SECONDS} s."
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
    yield "rounded to whole questions, so at the smallest N they are approximate."
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
                [100 * cell.wrong.share for cell in some if cell.wrong],
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
