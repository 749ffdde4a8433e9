"""One verdict over several benchmarks, from each benchmark's own.

    budget = benchmark_budget(policy, 3, parents=True)                 # of each, see `budget`
    mine = decide_fixed(pairs, policy.for_benchmark("mmlu"), domains=parents, budget=budget)
    decide_suite([Part("mmlu", mine), Part("gsm8k", its), Part("ifeval", theirs)], policy)
    combine_quick([Part("mmlu", quick), Part("gsm8k", another)], policy)

PASS: each required benchmark's own verdict rules out a loss of its `catch`. A candidate that lost
`catch` of one of them passes only where that one's test errs, so each may spend the whole `miss`
and nothing is divided (an intersection-union test: Berger, Technometrics 24, 1982, 295–300).
REGRESSION: a test rejects; the shares of all tests sum to `false_alarm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from capgate.gate.budget import together_share
from capgate.gate.families import holm_by_family
from capgate.gate.policy import Policy
from capgate.gate.suite_tests import judge_together, mean_of_e_values, tests_of
from capgate.gate.suite_verdict import (
    BenchmarkFinding,
    Part,
    SuiteBudget,
    SuiteTest,
    SuiteVerdict,
    TogetherFinding,
    What,
)
from capgate.gate.verdict import VerdictKind, harmless_hypothesis, points

_CALLED: Final[Mapping[What, str]] = {
    "benchmark": "its questions together",
    "unparsed": "its answers became unreadable",
    "length": "its answers became longer",
    "cut off": "its answers are cut off",
}


def decide_suite(
    parts: Sequence[Part], policy: Policy, *, required: Sequence[str] = ()
) -> SuiteVerdict:
    """Decides over several benchmarks on all their answers.

    All exact tests of the run are taken together by Holm's procedure, weighted by their shares
    (`holm_by_family`): all benchmarks together, each benchmark, groups, their parents, unreadable
    answers, the length of answers. Each benchmark's own verdict was made at its own shares, so
    what fails a benchmark's own test fails here as well.

    Args:
        parts: Each benchmark's own verdict (`decide_fixed`, `decide_floor`), made at the budget
            that `benchmark_budget` gives for the number of benchmarks that decide.
        policy: The target's (`policy.for_target`), of which the shares are printed.
        required: Names of benchmarks that must be among them; one that is not makes an ERROR.

    Raises:
        ValueError: If no benchmark is given, or a name twice.
    """
    deciding = _deciding(parts)
    tests = [test for part in deciding for test in tests_of(part)]
    together = None
    if len(deciding) > 1:
        # A run that may spend only a part of its shares spends that part of this one too.
        part = min((_spendable(one) for one in deciding), default=1.0)
        together = judge_together(deciding, policy, together_share(policy) * part)
        tests = _by_holm([*tests, together.test] if together else tests)
    return _conclude(_Found(parts, deciding, tests, together, policy, quick=False), required)


def combine_quick(
    parts: Sequence[Part], policy: Policy, *, required: Sequence[str] = ()
) -> SuiteVerdict:
    """Decides over several benchmarks on their quick runs, each stopped at its own verdict.

    Each benchmark's e-value E against "no loss" has a weight w, its part of the pooled share α of
    all benchmarks. Where w·E ≥ 1/α its own verdict is REGRESSION already, for it was judged at
    w·α. The weighted mean Σ w·E is an e-value against "no loss anywhere", however the benchmarks
    depend on each other, so small losses everywhere are rejected where Σ w·E ≥ 1/α. That takes no
    share of its own: where a single one rejects, the mean does too, so all of it together is one
    event that happens to an unchanged model with a chance of at most α. Sources: Vovk and Wang,
    Annals of Statistics 49 (2021) 1736–1754, for the mean; Wang and Ramdas, JRSS-B 84 (2022)
    822–852, for weights and e-values at any stopping time.

    Args:
        parts: Each benchmark's own verdict (`SequentialGate`), made at the budget that
            `benchmark_budget(..., quick=True)` gives.
        policy: The target's.
        required: Names of benchmarks that must be among them; one that is not makes an ERROR.

    Raises:
        ValueError: If no benchmark is given, or a name twice.
    """
    deciding = _deciding(parts)
    tests = [test for part in deciding for test in tests_of(part)]
    together = mean_of_e_values(deciding)
    if together is not None:
        tests.append(together.test)
    return _conclude(_Found(parts, deciding, tests, together, policy, quick=True), required)


class _Found(NamedTuple):
    """What a verdict over several benchmarks is made from."""

    parts: Sequence[Part]
    deciding: Sequence[Part]
    tests: Sequence[SuiteTest]
    together: TogetherFinding | None
    policy: Policy
    quick: bool

    def of(self, name: str) -> list[SuiteTest]:
        """Returns the tests of a benchmark by which the suite fails; `""` for all together."""
        return [one for one in self.tests if one.benchmark == name and one.fails]


def _deciding(parts: Sequence[Part]) -> list[Part]:
    names = [part.name for part in parts]
    if not names:
        raise ValueError("a suite has at least one benchmark")
    if len(set(names)) < len(names):
        raise ValueError("a suite has each benchmark once")
    return [part for part in parts if not part.advisory and part.judged]


def _spendable(part: Part) -> float:
    """Returns which part of its slice of the budget a benchmark's run could spend."""
    budget = part.judged and part.judged.budget
    return budget.tested / (budget.tested + budget.reserved + budget.spent) if budget else 1.0


def _by_holm(tests: Sequence[SuiteTest]) -> list[SuiteTest]:
    if not tests:
        return []
    level = sum(one.share for one in tests)
    adjusted = holm_by_family(
        [one.value for one in tests],
        [one.share for one in tests],
        [one.family for one in tests],
    )
    return [
        replace(one, adjusted=p, rejected=p <= level)
        for one, p in zip(tests, adjusted, strict=True)
    ]


def _conclude(found: _Found, required: Sequence[str]) -> SuiteVerdict:
    names = {part.name for part in found.parts}
    missing = [
        *(f"{name}: it was not asked." for name in required if name not in names),
        *_why_missing([one for one in found.parts if not one.advisory and one.judged is None]),
    ]
    if not found.deciding and not missing:
        missing = ["Every benchmark is advisory, so none decides."]
    red = [part for part in found.deciding if _is_red(found, part)]
    open_ = [part for part in found.deciding if part not in red and _kind(part) != "PASS"]
    lost = [_red_reason(found, part) for part in red]
    # Where one e-value suffices, their mean does too and says nothing more.
    if found.together is not None and found.of("") and not (found.quick and red):
        lost.append(_together_reason(found.together, named=bool(red)))
    undecided = [f"{part.name}: {_reasons(part)[0]}" for part in open_]
    if found.together is not None and found.together.unsure and not lost:
        undecided.append("All benchmarks together: the answers that are missing could decide.")
    kind: VerdictKind
    if missing:
        kind, reasons = "ERROR", [*missing, *lost, *undecided]
    elif lost:
        kind, reasons = "REGRESSION", [*lost, *undecided]
    elif undecided:
        kind, reasons = "INCONCLUSIVE", undecided
    else:
        kind, reasons = "PASS", [_pass_reason(found)]
    fails = kind in {"ERROR", "REGRESSION"}
    if kind == "INCONCLUSIVE":
        fails = found.policy.on_inconclusive == "fail"
        if open_:
            fails = any(part.judged is not None and part.judged.fails for part in open_)
    budgets = [part.judged.budget for part in found.deciding if part.judged and part.judged.budget]
    share = found.together.evidence[0].share if found.together and not found.quick else 0.0
    total = found.policy.false_alarm
    return SuiteVerdict(
        kind=kind,
        quick=found.quick,
        reasons=tuple(reasons),
        benchmarks=tuple(_finding(found, part) for part in found.parts),
        tests=tuple(found.tests),
        together=found.together,
        budget=SuiteBudget.of(total, budgets, share) if budgets else None,
        policy=found.policy,
        fails=fails,
    )


def _is_red(found: _Found, part: Part) -> bool:
    return _kind(part) == "REGRESSION" or (len(found.deciding) > 1 and bool(found.of(part.name)))


def _kind(part: Part) -> VerdictKind:
    return "ERROR" if part.judged is None else part.judged.kind


def _reasons(part: Part) -> tuple[str, ...]:
    if part.verdict is not None:
        return part.verdict.reasons or ("It says nothing.",)
    return (part.missing or "it has no verdict",)


def _why_missing(parts: Sequence[Part]) -> list[str]:
    """Returns why benchmarks have no verdict; what several have in common is said once."""
    told: dict[str, list[str]] = {}
    for part in parts:
        told.setdefault(" ".join(_reasons(part)), []).append(part.name)
    return [f"{', '.join(names)}: {why}" for why, names in told.items()]


def _red_reason(found: _Found, part: Part) -> str:
    """Returns why the suite fails by a benchmark."""
    own = part.judged
    assert own is not None
    if own.kind == "REGRESSION":
        return f"{part.name} lost: {' '.join(own.reasons)}"
    named = ", ".join(
        f"{one.name.replace('_', ' ')}" if one.name else _CALLED[one.what]
        for one in found.of(part.name)
    )
    return f"{part.name} lost (Holm over all {len(found.tests)} tests): {named}. {own.reasons[0]}"


def _together_reason(together: TogetherFinding, *, named: bool) -> str:
    counts, rejected = "", together.evidence[0].rejected
    holm = "" if rejected else " By Holm's procedure over all tests it is ruled out."
    if together.losses is not None:
        counts = f": {together.losses} lost, {together.gains} gained"
    alone = "" if named else " No benchmark alone shows a loss."
    return (
        f"All {len(together.benchmarks)} benchmarks together: drop {points(together.drop)}{counts} "
        f"of {together.n:,} questions; {together.evidence[0]}.{holm}{alone}"
    )


def _pass_reason(found: _Found) -> str:
    ruled_out = ", ".join(
        f"{part.name} {harmless_hypothesis(part.judged.policy.catch)}"
        for part in found.deciding
        if part.judged and part.judged.policy
    )
    n = len(found.deciding)
    if n == 1:
        return f"{found.deciding[0].name}: {' '.join(_reasons(found.deciding[0]))}"
    return f"Each of {n} benchmarks rules out its `catch`: {ruled_out}."


def _finding(found: _Found, part: Part) -> BenchmarkFinding:
    own, failing = part.judged, found.of(part.name)
    return BenchmarkFinding(
        name=part.name,
        kind=_kind(part),
        advisory=part.advisory,
        failed=not part.advisory and own is not None and _is_red(found, part),
        n=own.counts.n if own and own.counts else None,
        drop=own.drop if own else None,
        catch=own.policy.catch if own and own.policy else None,
        lost_groups=tuple(one.name for one in failing if one.what == "group"),
        lost_parents=tuple(one.name for one in failing if one.what == "parent"),
        reasons=_reasons(part),
    )
