"""The tests of a suite: those of each benchmark's own verdict, and that of all together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from capgate.gate import stats
from capgate.gate.policy import Policy
from capgate.gate.rows import FloorCounts, PairCounts
from capgate.gate.suite_verdict import Part, SuiteTest, TogetherFinding, What
from capgate.gate.verdict import Evidence, Verdict, harm_hypothesis, harmless_hypothesis

_LN10: Final = math.log(10.0)
_ROUNDING: Final = 1e-12
_LEAST_LOG: Final = -700.0
"""Natural logarithm below which an e-value is 0 for all purposes."""
_FEWEST: Final = 2
"""Benchmarks of a test of all together: that of a single one would be its own again."""


def tests_of(part: Part) -> list[SuiteTest]:
    """Returns the tests of one benchmark's own verdict, each at its own share."""
    verdict = part.judged
    if verdict is None or not verdict.evidence or verdict.budget is None:
        return []
    budget, void, harm = verdict.budget, part.void, verdict.evidence[0]
    found = [_test(part, "benchmark", harm, excused=void or _is_small(verdict))]
    for what, groups, share in (
        ("group", verdict.subjects, budget.subjects),
        ("parent", verdict.domains, budget.domains),
    ):
        for one in groups:
            own = share / len(groups)
            # Its own verdict rejected it, and a second look did not confirm it.
            cleared = one.p_holm <= budget.groups and not one.failed
            found.append(
                SuiteTest(
                    part.name,
                    "group" if what == "group" else "parent",
                    one.name,
                    "p",
                    one.p,
                    own,
                    rejected=one.p <= own,
                    excused=void or cleared,
                )
            )
    unparsed, length = verdict.unparsed, verdict.length
    if unparsed is not None and unparsed.evidence is not None:
        small = (unparsed.increase or 0.0) < unparsed.limit - _ROUNDING
        excused = void or ((small or verdict.scope == "quick") and not unparsed.failed)
        found.append(_test(part, "unparsed", unparsed.evidence, excused=excused))
    if length is not None:
        if length.evidence is not None:
            excused = void or not length.large
            found.append(_test(part, "length", length.evidence, excused=excused))
        excused = void or not length.many_cut_off
        found.append(_test(part, "cut off", length.cut_off_evidence, excused=excused))
    return found


def _test(part: Part, what: What, evidence: Evidence, *, excused: bool) -> SuiteTest:
    return SuiteTest(
        part.name,
        what,
        "",
        evidence.measure,
        evidence.value,
        evidence.share,
        rejected=evidence.rejected,
        excused=excused,
    )


def _is_small(verdict: Verdict) -> bool:
    """Whether a loss that is shown is nearer to `tolerate` than to `catch`, which is ruled out."""
    if verdict.scope == "quick":
        return verdict.kind == "PASS"
    assert verdict.policy is not None
    assert verdict.drop is not None
    middle = (verdict.policy.tolerate + verdict.policy.catch) / 2.0
    return verdict.evidence[1].rejected and verdict.drop <= middle


def judge_together(parts: Sequence[Part], policy: Policy, share: float) -> TogetherFinding | None:
    """Returns what the answers to all benchmarks say together, at a share.

    Every question counts alike. Given which questions differ, a candidate that lost nothing on
    any benchmark loses each of them with a chance of at most one half, so the exact McNemar test
    of all holds however the benchmarks differ. As for one benchmark, a loss that is shown does
    not fail where a loss of `catch` is ruled out and it is nearer to `tolerate`.

    Args:
        parts: Those that decide. Left out are those compared with a floor, those whose questions
            are another one's, and those that allow no conclusion.
        policy: The target's.
        share: Of the test; nothing is tested at 0.

    Returns:
        None where fewer than two are left.
    """
    pooled = [
        (part.name, part.judged, part.judged.counts)
        for part in parts
        if part.judged is not None
        and isinstance(part.judged.counts, PairCounts)
        and not part.apart
        and not part.void
    ]
    if len(pooled) < _FEWEST or share <= 0.0:
        return None
    whole = _total([(verdict, counts) for _, verdict, counts in pooled])
    ways = [
        _total([(verdict, choose(_read(verdict), key=_net)) for _, verdict, _ in pooled])
        for choose in (min, max)
    ]
    harm = [_harm(one, share) for one in ways]
    harmless = [_harmless(one, policy.miss) for one in ways]
    weakest = max(harmless, key=lambda one: one.value)
    return TogetherFinding(
        benchmarks=tuple(name for name, _, _ in pooled),
        n=whole.n,
        losses=whole.losses,
        gains=whole.gains,
        drop=whole.drop,
        tolerate=whole.tolerate,
        catch=whole.catch,
        evidence=(max(harm, key=lambda one: one.value), weakest),
        excused=weakest.rejected and whole.drop <= whole.middle,
        unsure=len({one.rejected for one in harm}) > 1,
    )


def mean_of_e_values(parts: Sequence[Part]) -> TogetherFinding | None:
    """Returns what quick runs say together: the weighted mean of their e-values.

    Args:
        parts: Those that decide. The e-value of one that allows no conclusion counts as 0.

    Returns:
        None where fewer than two have an e-value.
    """
    found = [
        (part, verdict, verdict.budget.pooled)
        for part in parts
        if (verdict := part.judged) and verdict.budget and verdict.log10_e is not None
    ]
    if len(found) < _FEWEST:
        return None
    alpha = sum(share for _, _, share in found)
    logs = [
        math.log(share / alpha) + _LN10 * (verdict.log10_e or 0.0)
        for part, verdict, share in found
        if not part.void
    ]
    mean = float(np.logaddexp.reduce(logs)) if logs else -math.inf
    scored = [
        (verdict, verdict.counts) for _, verdict, _ in found if verdict.counts and verdict.counts.n
    ]
    whole = _total(scored)
    passed = all(verdict.kind == "PASS" for _, verdict, _ in found)
    evidence = Evidence.from_log_e(
        harm_hypothesis(whole.tolerate),
        "weighted mean of e-values",
        max(mean, _LEAST_LOG),
        alpha,
    )
    return TogetherFinding(
        benchmarks=tuple(part.name for part, _, _ in found),
        n=whole.n,
        losses=whole.losses,
        gains=whole.gains,
        drop=whole.drop,
        tolerate=whole.tolerate,
        catch=whole.catch,
        evidence=(evidence,),
        excused=passed and whole.drop <= whole.middle,
    )


class _Total(NamedTuple):
    """The answers to several benchmarks; `tolerate` and `catch` are weighted by questions."""

    n: int
    losses: int | None
    gains: int | None
    drop: float
    tolerate: float
    catch: float

    @property
    def middle(self) -> float:
        return (self.tolerate + self.catch) / 2.0


def _total(answers: Sequence[tuple[Verdict, PairCounts | FloorCounts]]) -> _Total:
    n = sum(counts.n for _, counts in answers)
    paired = [counts for _, counts in answers if isinstance(counts, PairCounts)]
    alike = len(paired) == len(answers)
    return _Total(
        n=n,
        losses=sum(one.losses for one in paired) if alike else None,
        gains=sum(one.gains for one in paired) if alike else None,
        drop=sum(counts.n * _drop(verdict, counts) for verdict, counts in answers) / n,
        tolerate=sum(counts.n * _policy(verdict).tolerate for verdict, counts in answers) / n,
        catch=sum(counts.n * _policy(verdict).catch for verdict, counts in answers) / n,
    )


def _drop(verdict: Verdict, counts: PairCounts | FloorCounts) -> float:
    drop = counts.drop if isinstance(counts, PairCounts) else verdict.drop
    assert drop is not None
    return drop


def _policy(verdict: Verdict) -> Policy:
    assert verdict.policy is not None
    return verdict.policy


def _read(verdict: Verdict) -> list[PairCounts]:
    return [one for one in verdict.read if isinstance(one, PairCounts)]


def _net(counts: PairCounts) -> int:
    return counts.losses - counts.gains


def _harm(whole: _Total, share: float) -> Evidence:
    assert whole.losses is not None
    assert whole.gains is not None
    p, method = stats.mcnemar_exact(whole.losses, whole.gains), "exact McNemar"
    if whole.tolerate > 0.0:
        p = max(p, stats.tango_p_above(whole.losses, whole.gains, whole.n, whole.tolerate))
        method = "exact test by Tango's score, and exact McNemar"
    return Evidence.from_p(harm_hypothesis(whole.tolerate), method, p, share)


def _harmless(whole: _Total, share: float) -> Evidence:
    assert whole.losses is not None
    assert whole.gains is not None
    p = stats.tango_p_below(whole.losses, whole.gains, whole.n, whole.catch)
    return Evidence.from_p(harmless_hypothesis(whole.catch), "Tango 1998 score test", p, share)
