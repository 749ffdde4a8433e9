"""Many adapters at once: which of them lost capability, at a bounded false discovery rate.

    policy = Policy().for_sweep(100)                     # each adapter's quick run is judged by it
    found = e_bh([evidence(parts, policy) for parts in adapters], Policy().sweep_fdr)
    found.lost                                           # one bool an adapter

The false discovery rate is the expected share of unchanged adapters among those that are named.
The e-BH procedure bounds it however the e-values depend on each other: all adapters of a sweep are
asked the same questions in the same order, and compared with the same answers of their base.

Each adapter's quick run must end by what that adapter itself has shown. An adapter that is asked
later would otherwise be stopped by what others have shown on questions that it has not met yet,
and its wealth at such a moment is no e-value.

Source: Wang and Ramdas, *False discovery rate control with e-values*, JRSS-B 84 (2022) 822–852,
definition 2 and theorem 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from capgate.gate.budget import Budget
from capgate.gate.policy import Policy
from capgate.gate.suite_verdict import Part
from capgate.gate.verdict import Verdict

NO_EVIDENCE: Final = -300.0
"""Base-10 logarithm of an e-value that is 0 for all purposes."""

_LN10: Final = math.log(10.0)

_ROUNDING: Final = 1e-9
"""By how much a base-10 logarithm may fall short by rounding."""


@dataclass(frozen=True, slots=True)
class Discoveries:
    """Which of some hypotheses are rejected.

    Attributes:
        lost: Of each, whether it is rejected: that adapter lost capability.
        level: The false discovery rate that is kept.
        needed: Base-10 logarithm of the e-value that suffices, given how many are rejected; where
            none is, that of a single one.
    """

    lost: tuple[bool, ...]
    level: float
    needed: float


def e_bh(log10_e: Sequence[float], level: float) -> Discoveries:
    """Rejects hypotheses by the e-BH procedure.

    With K e-values, the k largest are rejected for the largest k at which each of them is at least
    K / (level · k).

    Args:
        log10_e: Base-10 logarithms of the e-values, one a hypothesis.
        level: The false discovery rate to keep.

    Raises:
        ValueError: The level is not in (0, 1), or there is no e-value.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"a false discovery rate lies between 0 and 1, not {level}")
    if not len(log10_e):
        raise ValueError("there is no e-value")
    largest_first = -np.sort(-np.asarray(log10_e, dtype=float))
    needed = [needed_evidence(len(log10_e), level, k) for k in range(1, len(log10_e) + 1)]
    enough = np.flatnonzero(largest_first >= np.array(needed) - _ROUNDING)
    least = needed[enough[-1] if len(enough) else 0]
    return Discoveries(tuple(bool(one >= least - _ROUNDING) for one in log10_e), level, least)


def needed_evidence(hypotheses: int, level: float, rejected: int) -> float:
    """Returns the base-10 logarithm of the e-value that suffices where so many are rejected.

    Args:
        hypotheses: How many there are.
        level: The false discovery rate to keep.
        rejected: How many are rejected, this one among them; 0 counts as 1.
    """
    return math.log10(hypotheses / (level * max(rejected, 1)))


def evidence(parts: Sequence[Part], policy: Policy) -> float:
    """Returns the base-10 logarithm of an adapter's e-value against "it lost nothing".

    It is the mean of the e-values of all tests of its quick runs, weighted by their shares α_t of
    the adapter's `false_alarm` α: Σ (α_t / α) · E_t. The tests of unreadable and of long answers
    say only whether they rejected. That has a chance of at most α_t where nothing changed, so
    E_t is 1 / α_t where one did and else 0. A mean of e-values is one, however they depend on each
    other (Vovk and Wang, Annals of Statistics 49, 2021, 1736–1754).

    A benchmark that passes adds nothing: a loss of `catch` is ruled out, and what may be left of it
    is tolerable. To lower an e-value is always allowed.

    Args:
        parts: Its quick verdict on each benchmark.
        policy: The policy by which they were made (`Policy.for_sweep`).
    """
    return total(part_evidence(part, policy) for part in parts)


def part_evidence(part: Part, policy: Policy) -> float:
    """Returns what one benchmark adds to its adapter's e-value, as a base-10 logarithm.

    Nothing, where it passes, only advises, or where too many of its answers are missing or
    unreadable to conclude anything.

    Args:
        part: The quick verdict on it.
        policy: The policy by which it was made.
    """
    verdict = part.judged
    if part.advisory or part.void or verdict is None or verdict.kind == "PASS":
        return NO_EVIDENCE
    if verdict.budget is None or verdict.log10_e is None:
        return NO_EVIDENCE
    certain = -math.log10(policy.false_alarm)
    return total(
        [
            weighted(verdict.log10_e, verdict.budget, policy),
            *(certain for _ in range(_changes_of_form(verdict))),
        ]
    )


def weighted(log10_e: float, budget: Budget, policy: Policy) -> float:
    """Returns what a benchmark's evidence of harm adds to its adapter's e-value.

    Args:
        log10_e: Base-10 logarithm of the e-value against "no loss" on this benchmark.
        budget: The benchmark's.
        policy: The policy by which it is judged.
    """
    return log10_e + math.log10(budget.pooled / policy.false_alarm)


def total(log10_e: Iterable[float]) -> float:
    """Returns the base-10 logarithm of a sum of e-values; `NO_EVIDENCE` of none."""
    logs = [one * _LN10 for one in log10_e if one > NO_EVIDENCE]
    return float(np.logaddexp.reduce(logs)) / _LN10 if logs else NO_EVIDENCE


def _changes_of_form(verdict: Verdict) -> int:
    """Returns how many tests say that answers became unreadable, longer or cut off."""
    unparsed, length = verdict.unparsed, verdict.length
    found = [unparsed is not None and unparsed.failed]
    if length is not None:
        found += [length.grew, length.cut_off]
    return sum(found)
