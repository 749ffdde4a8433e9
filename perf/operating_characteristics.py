"""How often the gate errs and how many questions it needs, by simulation.

    python perf/operating_characteristics.py            # some five minutes on one core
    python perf/operating_characteristics.py --quick    # half a minute, for a look
    python perf/operating_characteristics.py --suites   # several benchmarks alone, ten minutes

Writes `operating_characteristics.md` and `.svg` beside this file (with --quick to a directory
of your choice, `--out`). With --suites the table of several benchmarks is simulated in their
place and put into `README.md` (with --quick it is printed). Needs matplotlib for the plot.

Exits with 1 if an error rate is above what is stated by more than three standard errors of the
simulation, if more questions are needed than stated, or if `capgate decide --orders 100` takes
too long.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from characteristics_cells import (
    DECIDE_SECONDS,
    DISCORDANCES,
    DROPS,
    MMLU,
    ROUNDED,
    SIGHTS,
    SIZES,
    SMALL,
    STATED_QUESTIONS,
    TOLERANT,
    TOLERATED_CELLS,
    UNPARSED_CELLS,
)
from characteristics_page import plot, report
from gate_audit import audit
from gate_simulations import (
    POLICY,
    Cell,
    check_fixed,
    fixed,
    orders_of,
    population,
    redrawn,
    tolerated_alarms,
    unparsed_alarms,
)
from group_simulations import sight_of, suite_false_alarms
from suite_page import cells as suite_cells
from suite_page import lines as suite_lines
from tables import publish

from capgate.benchmarks.mmlu.subjects import SUBJECTS


def grid(*, quick: bool, seed: int) -> Iterator[Cell]:
    """Runs every cell in which the drop is at most the discordance."""
    for n in SMALL:
        for discordance in DISCORDANCES:
            for drop in DROPS:
                if drop > discordance:
                    continue
                judged = drop in (POLICY.tolerate, POLICY.catch)
                stated = (discordance, drop) in STATED_QUESTIONS and n == MMLU
                orders = (400 if judged else 100) if quick else (4000 if judged else 2000)
                seed += 1
                yield redrawn(n, discordance, drop, orders=orders, seed=seed)
                if n in SIZES and (judged or stated):
                    yield orders_of(n, discordance, drop, orders=orders, seed=seed)
                if n in SIZES:
                    yield fixed(n, discordance, drop, runs=20_000 if quick else 100_000, seed=seed)


def tolerant_grid(*, quick: bool, seed: int) -> Iterator[Cell]:
    """Runs the quick gate where some drop is tolerated, at that drop and at the one to catch."""
    for policy in TOLERANT:
        for n in (500, 2_000):
            for discordance in (policy.catch, 0.2):
                for drop in (policy.tolerate, policy.catch):
                    seed += 1
                    orders = 400 if quick else 2000
                    yield redrawn(n, discordance, drop, orders=orders, seed=seed, policy=policy)


def decide_seconds(seed: int) -> float:
    """Returns the processor time that `capgate decide --orders 100` takes for all of MMLU.

    Two models that differ on a fifth of the questions, neither of them better.
    """
    values = population(MMLU, 0.2, 0.0)[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        lines = ["question,subject,reference,candidate"]
        for i, value in enumerate(values):
            lines.append(f"q{i},{SUBJECTS[i % 57]},{int(value >= 0)},{int(value <= 0)}")
        rows.write_text("\n".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "capgate.cli", "decide", str(rows)]
        before = os.times()
        done = subprocess.run(
            [*command, "--orders", "100", "--seed", str(seed)], stdout=subprocess.DEVNULL
        )
        after = os.times()
    if done.returncode not in (0, 1):
        raise AssertionError(f"capgate decide ended with {done.returncode}")
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


def several_benchmarks(*, quick: bool, seed: int) -> int:
    """Simulates suites of benchmarks; publishes the table, or prints it with `quick`."""
    started, worked = time.monotonic(), time.process_time()
    cells = list(suite_cells(quick=quick, seed=seed))
    text = "\n".join(suite_lines(cells))
    if quick:
        print(text)
    else:
        publish("suites", text)
    rates = [rate for cell in cells for rate in cell.rates]
    above = [f"{rate.what}: {rate}, stated {rate.limit:.2%}" for rate in rates if not rate.holds]
    took = f"{time.monotonic() - started:.0f} s ({time.process_time() - worked:.0f} s of CPU)"
    print(f"{len(cells)} cells in {took}; {len(rates)} rates, {len(above)} above what is stated")
    for line in above:
        print(f"  {line}")
    return 1 if above else 0


def main() -> int:
    """Remakes table and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer orders, for a look")
    parser.add_argument("--suites", action="store_true", help="several benchmarks alone")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="directory")
    parser.add_argument("--seed", type=int, default=20_000)
    args = parser.parse_args()
    quick, seed = args.quick, args.seed
    if args.suites:
        return several_benchmarks(quick=quick, seed=seed)
    started, worked = time.monotonic(), time.process_time()
    check_fixed(seed)
    cells = list(grid(quick=quick, seed=seed))
    tolerant = list(tolerant_grid(quick=quick, seed=seed))
    suites = [
        suite_false_alarms(q, runs=4000 if quick else 40_000, seed=seed) for q in DISCORDANCES
    ]
    sights = [sight_of(*one, runs=2000 if quick else 20_000, seed=seed) for one in SIGHTS]
    unparsed = [
        unparsed_alarms(n, rate, runs=1000 if quick else 4000, seed=seed)
        for n, rate in UNPARSED_CELLS
    ]
    tolerated = [tolerated_alarms(*cell) for cell in TOLERATED_CELLS]
    audited = audit(quick=quick, seed=seed)
    seconds = decide_seconds(seed)
    found = report(
        cells,
        tolerant,
        suites,
        sights,
        unparsed,
        tolerated,
        audited,
        seconds,
        quick=quick,
        seed=seed,
    )
    text = "\n".join(found) + "\n"
    (args.out / "operating_characteristics.md").write_text(text, encoding="utf-8")
    plot(cells, args.out / "operating_characteristics.svg")

    rates = [cell.wrong for cell in (*cells, *tolerant) if cell.wrong is not None]
    rates += [rate for some in (*suites, *unparsed, tolerated) for rate in some]
    rates += audited.rates
    above = [f"{rate.what}: {rate}, stated {rate.limit:.2%}" for rate in rates if not rate.holds]
    for cell in cells:
        stated = STATED_QUESTIONS.get((cell.discordance, cell.drop))
        if (cell.rule, cell.n) != ("orders", MMLU) or stated is None:
            continue
        if cell.mean > stated * (1.1 if quick else ROUNDED):
            above.append(f"{cell.mean:.0f} questions where {stated} are stated: {cell}")
    if seconds > DECIDE_SECONDS:
        above.append(f"decide --orders 100 took {seconds:.1f} s, stated {DECIDE_SECONDS}")
    took = f"{time.monotonic() - started:.0f} s ({time.process_time() - worked:.0f} s of CPU)"
    print(f"{len(cells) + len(tolerant)} cells in {took}, decide {seconds:.1f} s")
    print(f"{len(rates)} error rates checked, {len(above)} things above what is stated")
    for line in above:
        print(f"  {line}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
