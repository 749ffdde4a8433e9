"""The verdict over all benchmarks in words: a sentence, a row for each benchmark, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from capgate.gate.suite_verdict import SuiteBudget
from capgate.report.data.nouns import benchmark_name
from capgate.report.data.standings import Standing
from capgate.report.text.advice import points

COLUMNS: Final = (
    "benchmark",
    "questions",
    "accuracy",
    "reference",
    "drop",
    "interval of drop",
    "catch",
    "verdict",
)
"""Heads of the table of benchmarks; `cells` makes its rows. Drops are in points."""

UNJUDGED: Final = "no verdict over all"
"""What stands in place of a kind where benchmarks were judged alone, or only measured."""

_NAMED: Final = 4


def cells(one: Standing) -> list[str]:
    """A benchmark's row, in the order of `COLUMNS`."""
    interval = "–"
    if one.interval:
        interval = f"{100 * one.interval['low']:+.1f} to {100 * one.interval['high']:+.1f}"
    return [
        benchmark_name(one.benchmark),
        f"{one.questions:,}" if one.questions else "–",
        _percent(one.accuracy),
        _percent(one.reference),
        "–" if one.drop is None else f"{100 * one.drop:+.1f}",
        interval,
        "–" if one.catch is None else f"{100 * one.catch:.3g}",
        f"{one.word} (advisory)" if one.advisory else one.word,
    ]


def suite_headline(
    target: str, suite: Mapping[str, Any] | None, standing: Sequence[Standing]
) -> str:
    """What came of all benchmarks together, in one sentence.

    Args:
        target: The target's id.
        suite: The verdict over all; None where there is none.
        standing: How the target stands on each.
    """
    deciding = [one for one in standing if not one.advisory]
    n = len(deciding)
    if suite is None:
        return f"{target} was asked {_benchmarks(len(standing))}, without a verdict over all"
    match suite["kind"]:
        case "PASS":
            return f"{target} lost nothing that must be caught on {_benchmarks(n)}"
        case "REGRESSION":
            lost = [one for one in deciding if one.word == "REGRESSION"]
            if not lost:
                return f"{target} lost a little on {_benchmarks(n)} together"
            named = ", ".join(_with_drop(one) for one in lost[:_NAMED])
            return f"{target} lost on {len(lost)} of {_benchmarks(n)}: {named}{_more(lost)}"
        case "INCONCLUSIVE":
            open_ = [one for one in deciding if one.word == "INCONCLUSIVE"]
            return f"{target}: INCONCLUSIVE{_of(open_, n)}"
    failed = [one for one in deciding if one.word in {"ERROR", "not asked"}]
    return f"{target} could not be judged{_of(failed, n)}"


def budget_line(suite: Mapping[str, Any] | None) -> str:
    """How the chance of a false alarm was divided; `""` where nothing decided."""
    budget = (suite or {}).get("budget")
    return str(SuiteBudget(**budget)) if budget else ""


def suite_steps(suite: Mapping[str, Any] | None, standing: Sequence[Standing]) -> list[str]:
    """What to do next about the verdict over all; each benchmark's own section says more."""
    if suite is None:
        return []
    deciding = [one for one in standing if not one.advisory]
    match suite["kind"]:
        case "PASS":
            return ["Nothing: each benchmark rules out a loss of the size that must be caught."]
        case "REGRESSION":
            lost = [one for one in deciding if one.word == "REGRESSION"]
            if not lost:
                return [
                    "No benchmark alone shows where: try a lower learning rate, fewer epochs, a "
                    "smaller rank, or general data mixed into the training set."
                ]
            return [f"Read what was lost{_on(lost)} first; what follows names it."]
        case "INCONCLUSIVE":
            open_ = [one for one in deciding if one.word == "INCONCLUSIVE"]
            return [f"Do what is said below{_on(open_)}: a PASS needs every benchmark's own."]
    return ["Mend the fault named above and run again: what was answered is kept."]


def _with_drop(one: Standing) -> str:
    name = benchmark_name(one.benchmark)
    return name if one.drop is None else f"{name} ({points(one.drop)})"


def _of(some: Sequence[Standing], n: int) -> str:
    named = ", ".join(benchmark_name(one.benchmark) for one in some[:_NAMED])
    if not some:
        return f" on {_benchmarks(n)}"
    return f" on {len(some)} of {_benchmarks(n)}: {named}{_more(some)}"


def _on(some: Sequence[Standing]) -> str:
    named = ", ".join(benchmark_name(one.benchmark) for one in some[:_NAMED])
    return f" on {named}{_more(some)}" if some else ""


def _more(some: Sequence[Standing]) -> str:
    return f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""


def _benchmarks(n: int) -> str:
    return f"{n} benchmark{'' if n == 1 else 's'}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
