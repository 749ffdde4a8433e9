"""The verdict over several benchmarks: values that say what was concluded, and from which tests."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple

from capgate.gate.budget import Budget
from capgate.gate.conclude import too_many_errors, too_many_unread
from capgate.gate.policy import Policy
from capgate.gate.verdict import EXIT_CODES, Evidence, Verdict, VerdictKind

SUITE_SCHEMA_VERSION: Final = 1
"""Of `SuiteVerdict.to_dict`; raised when a key changes its meaning or goes."""

What = Literal["together", "benchmark", "group", "parent", "unparsed", "length", "cut off"]
"""What a test of a suite is of."""


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark's part of a suite.

    Attributes:
        name: The benchmark's.
        verdict: Its own verdict on all its answers or on its quick run; None where it has none.
        advisory: Whether it is reported and never decides.
        apart: Whether its questions are another benchmark's in another form, such as another
            language. Then it is left out of the test of all benchmarks together, which takes
            questions as independent.
        missing: Why it has no verdict.

    Raises:
        ValueError: The verdict is on a single subject or domain, or on other answers than all.
    """

    name: str
    verdict: Verdict | None
    advisory: bool = False
    apart: bool = False
    missing: str = ""

    def __post_init__(self) -> None:
        if self.verdict is not None and self.verdict.scope not in {"suite", "quick"}:
            raise ValueError(f"{self.name}: the verdict on one {self.verdict.scope} is no whole")

    @property
    def judged(self) -> Verdict | None:
        """The verdict, where something was compared."""
        verdict = self.verdict
        return verdict if verdict is not None and verdict.kind != "ERROR" else None

    @property
    def void(self) -> bool:
        """Whether too many of its answers are missing or unreadable to conclude anything."""
        verdict = self.judged
        if verdict is None or verdict.counts is None or verdict.policy is None:
            return True
        if not verdict.counts.n:
            return True
        return any(
            find(verdict.counts, verdict.policy) for find in (too_many_errors, too_many_unread)
        )


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """One test within the verdict over several benchmarks.

    Attributes:
        benchmark: Which one it is of; `""` for all together.
        what: What it tests.
        name: The group's or parent's; else `""`.
        measure: `p` (small rejects) or `log10_e` (large rejects).
        value: The p-value, or the base-10 logarithm of the e-value.
        share: Its own share of `false_alarm`.
        adjusted: The p-value adjusted for all tests of the run; None in a quick run.
        rejected: Whether its hypothesis is rejected.
        excused: Whether it does not fail even where it is rejected: the loss is nearer to what is
            tolerated than to `catch`, the rise of unreadable or long answers is small, a second
            look did not confirm it, or nothing can be concluded from the benchmark's answers.
    """

    benchmark: str
    what: What
    name: str
    measure: Literal["p", "log10_e"]
    value: float
    share: float
    rejected: bool
    excused: bool
    adjusted: float | None = None

    @property
    def fails(self) -> bool:
        """Whether the suite fails by it."""
        return self.rejected and not self.excused

    @property
    def family(self) -> tuple[str, str]:
        """The tests that its share passes to first: a benchmark's groups are one family."""
        kind = {"parent": "group", "cut off": "length"}.get(self.what, self.what)
        return self.benchmark, kind

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {**_fields(self), "fails": self.fails}


@dataclass(frozen=True, slots=True)
class TogetherFinding:
    """What the answers to all benchmarks say together.

    Attributes:
        benchmarks: Those whose answers are in it.
        n: Their questions scored.
        losses: Of these, lost; None where one is compared with a floor.
        gains: Gained; None likewise.
        drop: Accuracy lost over all of them, as a fraction.
        tolerate: Their `tolerate`, weighted by their questions.
        catch: Their `catch`, weighted likewise.
        evidence: Against "no loss"; in a whole run also against "a loss of `catch`".
        excused: Whether a loss that is shown is nearer to `tolerate` than to `catch`, which is
            ruled out.
        unsure: Whether missing answers decide.
    """

    benchmarks: tuple[str, ...]
    n: int
    losses: int | None
    gains: int | None
    drop: float
    tolerate: float
    catch: float
    evidence: tuple[Evidence, ...]
    excused: bool
    unsure: bool = False

    @property
    def test(self) -> SuiteTest:
        """Its test among those of the suite."""
        one = self.evidence[0]
        return SuiteTest(
            "", "together", "", one.measure, one.value, one.share, one.rejected, self.excused
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {
            **_fields(self),
            "benchmarks": list(self.benchmarks),
            "evidence": [_fields(one) for one in self.evidence],
        }


@dataclass(frozen=True, slots=True)
class BenchmarkFinding:
    """One benchmark within the verdict over several.

    Attributes:
        name: The benchmark's.
        kind: Its own verdict's kind; ERROR where it has none.
        advisory: Whether it never decides.
        failed: Whether the suite fails by one of its tests.
        n: Questions scored; None where nothing was compared.
        drop: Accuracy lost, as a fraction; None where nothing was scored.
        catch: The drop that must be caught; None where nothing was compared.
        lost_groups: Groups that the suite's tests name.
        lost_parents: Parents of groups that they name.
        reasons: Of its own verdict, the decisive one first; why it has none.
    """

    name: str
    kind: VerdictKind
    advisory: bool
    failed: bool
    n: int | None
    drop: float | None
    catch: float | None
    lost_groups: tuple[str, ...]
    lost_parents: tuple[str, ...]
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        listed = ("lost_groups", "lost_parents", "reasons")
        return {**_fields(self), **{key: list(getattr(self, key)) for key in listed}}


class SuiteBudget(NamedTuple):
    """How the chance of a false alarm is divided among the tests of several benchmarks.

    Attributes:
        total: `false_alarm` of the policy.
        together: Share of the test of all benchmarks together.
        benchmarks: Share of the benchmarks' own tests.
        groups: Share of the tests of their groups.
        parents: Share of the tests of groups' parents.
        unparsed: Share of the tests on unreadable answers.
        length: Share of the tests on the length of answers.
        reserved: Share set aside for later looks, or not given to any test.
        spent: Share that was spent before.
        n_benchmarks: How many benchmarks decide.
    """

    total: float
    together: float
    benchmarks: float
    groups: float
    parents: float
    unparsed: float
    length: float
    reserved: float
    spent: float
    n_benchmarks: int

    @classmethod
    def of(cls, total: float, budgets: list[Budget], together: float) -> SuiteBudget:
        """Returns the sum of the benchmarks' budgets and the test of all together."""
        found = cls(
            total=total,
            together=together,
            benchmarks=sum(one.pooled for one in budgets),
            groups=sum(one.subjects for one in budgets),
            parents=sum(one.domains for one in budgets),
            unparsed=sum(one.unparsed for one in budgets),
            length=sum(one.length for one in budgets),
            reserved=0.0,
            spent=sum(one.spent for one in budgets),
            n_benchmarks=len(budgets),
        )
        return found._replace(reserved=max(0.0, round(total - sum(found[1:9]), 12)))

    def __str__(self) -> str:
        n = self.n_benchmarks
        parts = (
            ("all together", self.together),
            (f"{n} benchmark{'' if n == 1 else 's'}", self.benchmarks),
            ("groups", self.groups),
            ("parents of groups", self.parents),
            ("unparsed", self.unparsed),
            ("answer length", self.length),
            ("reserved", self.reserved),
            ("spent before", self.spent),
        )
        shown = " + ".join(f"{name} {part:.4g}" for name, part in parts if part)
        return f"false alarm {self.total:.4g} = {shown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteVerdict:
    """What the gate concluded over several benchmarks.

    Attributes:
        kind: The conclusion.
        quick: Whether it is of quick runs.
        reasons: Sentences for people, the decisive one first.
        benchmarks: One finding a benchmark, in the order asked.
        tests: Every test that the conclusion rests on.
        together: What all benchmarks say together; None where that is not tested.
        budget: How the chance of a false alarm was divided; None where nothing decides.
        policy: The policy in force.
        fails: Whether a test that rests on this verdict fails.
    """

    kind: VerdictKind
    quick: bool
    reasons: tuple[str, ...]
    benchmarks: tuple[BenchmarkFinding, ...]
    tests: tuple[SuiteTest, ...]
    together: TogetherFinding | None
    budget: SuiteBudget | None
    policy: Policy
    fails: bool

    @property
    def exit_code(self) -> int:
        """Exit code of a run that ends with this verdict."""
        return EXIT_CODES[self.kind]

    @property
    def failed(self) -> tuple[str, ...]:
        """Benchmarks by whose tests the suite fails."""
        return tuple(one.name for one in self.benchmarks if one.failed)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON: every key always present, every float finite."""
        return {
            "schema": SUITE_SCHEMA_VERSION,
            "kind": self.kind,
            "exit_code": self.exit_code,
            "fails": self.fails,
            "scope": "quick" if self.quick else "suite",
            "reasons": list(self.reasons),
            "benchmarks": [one.to_dict() for one in self.benchmarks],
            "together": self.together.to_dict() if self.together else None,
            "tests": [one.to_dict() for one in self.tests],
            "budget": self.budget._asdict() if self.budget else None,
            "policy": self.policy.figures(),
        }


def _fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 (any of the dataclasses above)
    return {one.name: getattr(value, one.name) for one in fields(value)}
