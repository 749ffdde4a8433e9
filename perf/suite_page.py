"""The table of the verdict over several benchmarks, simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from suite_checks import check_suites
from suite_simulations import KINDS, SCENARIOS, SUITES, SuiteCell, simulate


def cells(*, quick: bool, seed: int) -> Iterator[SuiteCell]:
    """Runs every suite in every scenario, whole and quick, having checked the rules used.

    Args:
        quick: Fewer runs, for a look.
        seed: Of the first one.
    """
    check_suites(seed, times=10 if quick else 40)
    for name in SUITES:
        for scenario in SCENARIOS:
            grouped = len(SUITES[name][0].sizes) > 1
            if scenario.group and not grouped:
                continue
            seed += 100
            runs = 4_000 if quick else 40_000
            yield simulate(name, scenario, quick=False, runs=runs, seed=seed)
            few = 200 if quick or not scenario.limits else 2_000
            yield simulate(name, scenario, quick=True, runs=few, seed=seed)


def lines(found: Sequence[SuiteCell]) -> Iterator[str]:
    """Yields the lines of the table, whole and quick runs of a scenario side by side."""
    yield (
        "| suite | lost | discordance | whole: PASS | REGRESSION | INCONCLUSIVE | quick: PASS "
        "| REGRESSION | INCONCLUSIVE | questions |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for whole, quick in zip(found[::2], found[1::2], strict=True):
        scenario = whole.scenario
        shares = [_share(cell, kind) for cell in (whole, quick) for kind in KINDS]
        yield (
            f"| {whole.suite} | {scenario.lost} | {scenario.discordance:g} | {' | '.join(shares)} "
            f"| {quick.mean:,.0f} of {whole.mean:,.0f} |"
        )


def _share(cell: SuiteCell, kind: str) -> str:
    """Returns the share of a verdict, marked where it is stated and above that."""
    text = f"{cell.shares[kind]:.1%}"
    stated = [rate for rate in cell.rates if rate.what.endswith(kind)]
    if not stated:
        return text
    return f"**{text}**" if stated[0].holds else f"**{text} above**"
