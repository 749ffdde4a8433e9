"""The verdict: a value that says what was concluded, from which numbers, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from capgate.common import exit_codes
from capgate.common.errors import CapgateError
from capgate.common.nouns import SUBJECTS, Nouns
from capgate.gate.budget import Budget
from capgate.gate.policy import Policy
from capgate.gate.rows import FloorCounts, PairCounts
from capgate.gate.stats import Interval

VerdictKind = Literal[
    "PASS",  # a drop of `catch` is ruled out
    "REGRESSION",  # capability was lost, or answers became unreadable
    "INCONCLUSIVE",  # too few questions or too many errors to say; of a group: too many errors
    "ERROR",  # nothing could be compared at all
    "lost",  # of a group: it lost capability
    "kept",  # of a group: a drop of its `catch` is ruled out
    "too few to tell",  # of a group: its questions rule out neither
]
GroupWord = Literal["lost", "kept", "too few to tell", "INCONCLUSIVE"]
"""What the suite's test says of a subject or a domain."""

GroupKind = Literal["lost", "kept", "too few to tell", "INCONCLUSIVE", "ERROR"]
"""What a report says of a subject or a domain."""

GROUP_KINDS: Final[tuple[GroupKind, ...]] = get_args(GroupKind)
"""All of them, the weightiest of what was found first."""

Scope = Literal["suite", "subject", "domain", "quick"]
ReferenceKind = Literal["base", "baseline", "floor", "published"]

EXIT_CODES: Final[dict[VerdictKind, int]] = {
    "PASS": exit_codes.PASS,
    "REGRESSION": exit_codes.REGRESSION,
    "INCONCLUSIVE": exit_codes.INCONCLUSIVE,
    "ERROR": exit_codes.ERROR,
    "lost": exit_codes.REGRESSION,
    "kept": exit_codes.PASS,
    "too few to tell": exit_codes.PASS,
}
"""The exit code of a run that ends with a verdict of each kind."""

SCHEMA_VERSION: Final = 2
"""Of `Verdict.to_dict`; raised when a key changes its meaning or goes."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One test of one hypothesis.

    Attributes:
        hypothesis: What was tested, as `no loss`; rejecting it is the finding.
        method: Name of the test.
        measure: `p` (small rejects) or `log10_e` (large rejects).
        value: The p-value, or the base-10 logarithm of the e-value.
        threshold: Where rejection begins, in the same measure.
        share: Chance of a false rejection that the test was given.
        rejected: Whether the hypothesis is rejected.
    """

    hypothesis: str
    method: str
    measure: Literal["p", "log10_e"]
    value: float
    threshold: float
    share: float
    rejected: bool

    @classmethod
    def from_p(cls, hypothesis: str, method: str, p: float, share: float) -> Evidence:
        """Returns the evidence of a p-value, rejected where it is at most `share`."""
        return cls(hypothesis, method, "p", p, share, share, p <= share)

    @classmethod
    def from_log_e(cls, hypothesis: str, method: str, log_e: float, share: float) -> Evidence:
        """Returns the evidence of an e-value's natural logarithm."""
        needed = -math.log(share)
        scale = math.log(10.0)
        return cls(
            hypothesis, method, "log10_e", log_e / scale, needed / scale, share, log_e >= needed
        )

    def __str__(self) -> str:
        finding = "ruled out" if self.rejected else "not ruled out"
        if self.measure == "p":
            numbers = f"p = {self.value:.2g}, at most {self.threshold:.2g} is needed"
        else:
            numbers = f"evidence {self.value:.2f} of the {self.threshold:.2f} needed"
        return f"“{self.hypothesis}” is {finding} ({numbers})"


@dataclass(frozen=True, slots=True)
class UnparsedFinding:
    """Whether answers became unreadable.

    Attributes:
        reference_rate: Unparsed share of the reference; None against a floor.
        candidate_rate: Unparsed share of the candidate.
        increase: Difference of the two; None against a floor.
        limit: `max_unparsed_increase`.
        evidence: The test on it; None against a floor.
        failed: Whether both the size and the test speak against the candidate.
    """

    reference_rate: float | None
    candidate_rate: float
    increase: float | None
    limit: float
    evidence: Evidence | None
    failed: bool


@dataclass(frozen=True, slots=True)
class LengthFinding:
    """Whether answers became several times longer, or are cut off more often.

    Attributes:
        n: Questions whose answers' tokens are known on both sides.
        reference_tokens: Mean tokens of the reference's answers to them; None without any.
        candidate_tokens: The same of the candidate.
        limit: `max_length_increase`.
        longer: Questions to which the candidate's answer is at least `limit` times as long.
        shorter: Questions to which the reference's answer is.
        evidence: The test of "answers are no longer"; None where too few lengths are known.
        reference_cut_off: Share of the reference's answers that the token limit ended; of those
            without tokens only unreadable ones count.
        candidate_cut_off: The same of the candidate.
        cut_off_limit: Rise of that share that fails, `max_unparsed_increase`.
        cut_off_evidence: The test of "no more answers are cut off".
        grew: Whether both the size and the test say that answers became longer.
        cut_off: Whether both say that more answers are cut off.
    """

    n: int
    reference_tokens: float | None
    candidate_tokens: float | None
    limit: float
    longer: int
    shorter: int
    evidence: Evidence | None
    reference_cut_off: float
    candidate_cut_off: float
    cut_off_limit: float
    cut_off_evidence: Evidence
    grew: bool
    cut_off: bool

    @property
    def large(self) -> bool:
        """Whether the mean length is at least `limit` times the reference's."""
        ours, theirs = self.candidate_tokens, self.reference_tokens
        return bool(ours and theirs and is_longer(ours, theirs, self.limit))

    @property
    def many_cut_off(self) -> bool:
        """Whether the share of answers cut off rose by the limit."""
        return self.candidate_cut_off - self.reference_cut_off >= self.cut_off_limit - 1e-12

    @property
    def failed(self) -> bool:
        """Whether answers became longer or are cut off more often."""
        return self.grew or self.cut_off

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        evidence = {
            "evidence": _fields(self.evidence) or None,
            "cut_off_evidence": _fields(self.cut_off_evidence),
        }
        return {**_fields(self), **evidence, "failed": self.failed}


@dataclass(frozen=True, slots=True)
class GroupFinding:
    """One group, a subject or a domain, within the suite's test.

    Attributes:
        name: The subject's or domain's.
        n: Questions scored.
        losses: Questions lost; None against a floor.
        gains: Questions gained; None against a floor.
        drop: Accuracy lost, or how far under its floor, as a fraction.
        p: Its own exact p-value of "nothing was lost".
        p_holm: Adjusted for all groups tested.
        p_catch: Its own p-value of "its `catch` was lost".
        word: What is said of it; `lost` where Holm's procedure rejects.
        smallest_visible_drop: What its own test would usually have found; None if nothing.
    """

    name: str
    n: int
    losses: int | None
    gains: int | None
    drop: float
    p: float
    p_holm: float
    p_catch: float
    word: GroupWord
    smallest_visible_drop: float | None

    @property
    def failed(self) -> bool:
        """Whether it lost capability."""
        return self.word == "lost"

    def to_dict(self, what: Literal["subject", "domain"]) -> dict[str, Any]:
        """Returns plain values for JSON, the name under the key `what`."""
        fields = _fields(self)
        return {what: fields.pop("name"), **fields, "failed": self.failed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate concluded; drops and rates are fractions of 1.

    Attributes:
        kind: The conclusion.
        scope: Whole suite, one subject, one domain, or a quick (sequential) run.
        reference: What the candidate was compared with; None where there was nothing.
        reasons: Sentences for people, the decisive one first.
        subject: Name of the subject or the domain, where `scope` is one.
        counts: Counts of the comparison; None where nothing was compared.
        floor: The accuracy demanded, where the reference is one.
        drop: Accuracy lost (negative for a gain); None where nothing was scored.
        interval: Confidence interval of the drop.
        evidence: The tests that the conclusion rests on.
        smallest_visible_drop: Smallest true drop that this many questions would usually show.
        unparsed: The finding on unreadable answers.
        subjects: Findings by subject, of a suite's verdict.
        domains: Findings by domain, of a suite's verdict.
        budget: How the chance of a false alarm was divided.
        policy: The policy's figures in force.
        population: Questions of the benchmark that a quick run draws from.
        pooled: What the pooled test of a suite says by itself.
        unsure: Whether missing answers could make another test of a suite or subject fail.
        length: The finding on the length of answers; None where it was not tested.
        nouns: What groups and their parents are called in its reasons.
        read: Counts on each reading of the answers (`readings`), of a suite's verdict.
        log10_e: Of a quick run, the evidence of harm when it stopped: the power of ten of the
            e-value.
    """

    kind: VerdictKind
    scope: Scope
    reasons: tuple[str, ...]
    reference: ReferenceKind | None = None
    subject: str | None = None
    counts: PairCounts | FloorCounts | None = None
    floor: float | None = None
    drop: float | None = None
    interval: Interval | None = None
    evidence: tuple[Evidence, ...] = ()
    smallest_visible_drop: float | None = None
    unparsed: UnparsedFinding | None = None
    subjects: tuple[GroupFinding, ...] = ()
    domains: tuple[GroupFinding, ...] = ()
    budget: Budget | None = None
    policy: Policy | None = None
    population: int | None = None
    pooled: VerdictKind = "INCONCLUSIVE"
    unsure: bool = False
    nouns: Nouns = SUBJECTS
    length: LengthFinding | None = None
    read: tuple[PairCounts | FloorCounts, ...] = field(default=(), compare=False)
    log10_e: float | None = None

    @classmethod
    def of_error(
        cls, error: CapgateError | str, *, scope: Scope, subject: str | None = None
    ) -> Verdict:
        """Returns the ERROR verdict of a fault that left nothing to compare."""
        return cls(kind="ERROR", scope=scope, subject=subject, reasons=(str(error),))

    @property
    def exit_code(self) -> int:
        """Exit code of a run that ends with this verdict."""
        return EXIT_CODES[self.kind]

    @property
    def fails(self) -> bool:
        """Whether a test that rests on this verdict fails.

        `on_inconclusive: pass` excuses a lack of evidence. It does not excuse evidence that the
        candidate's answers became unreadable or far longer.
        """
        if self.kind == "INCONCLUSIVE":
            if any(one is not None and one.failed for one in (self.unparsed, self.length)):
                return True
            return self.policy is None or self.policy.on_inconclusive == "fail"
        return self.exit_code != 0

    @property
    def failed_subjects(self) -> tuple[GroupFinding, ...]:
        """Subjects that the suite's test names."""
        return tuple(one for one in self.subjects if one.failed)

    @property
    def failed_domains(self) -> tuple[GroupFinding, ...]:
        """Domains that the suite's test names."""
        return tuple(one for one in self.domains if one.failed)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON: every float finite, every key always present.

        `length` is there only where the length of answers was tested.
        """
        counts = _fields(self.counts)
        if isinstance(self.counts, PairCounts):
            counts |= {
                "discordance": self.counts.discordance,
                "reference_accuracy": self.counts.reference_accuracy,
                "candidate_accuracy": self.counts.candidate_accuracy,
            }
        elif isinstance(self.counts, FloorCounts):
            counts |= {"candidate_accuracy": self.counts.accuracy}
        unparsed = _fields(self.unparsed)
        if self.unparsed is not None:
            unparsed["evidence"] = _fields(self.unparsed.evidence) or None
        return {
            "schema": SCHEMA_VERSION,
            "kind": self.kind,
            "exit_code": self.exit_code,
            "fails": self.fails,
            "scope": self.scope,
            "subject": self.subject,
            "reference": self.reference,
            "reasons": list(self.reasons),
            "counts": counts or None,
            "error_rate": self.counts.error_rate if self.counts else None,
            "floor": self.floor,
            "drop": self.drop,
            "interval": self.interval._asdict() if self.interval else None,
            "evidence": [_fields(one) for one in self.evidence],
            "smallest_visible_drop": self.smallest_visible_drop,
            "unparsed": unparsed or None,
            "subjects": [one.to_dict("subject") for one in self.subjects],
            "domains": [one.to_dict("domain") for one in self.domains],
            "budget": self.budget.to_dict() if self.budget else None,
            "policy": self.policy.figures() if self.policy else None,
            "population": self.population,
            **({"length": self.length.to_dict()} if self.length else {}),
        }


MORE_TOKENS: Final = 20
"""Tokens by which an answer must be longer as well: `B` and `Answer: B` differ by a factor only."""


def is_longer(ours: float, theirs: float, times: float) -> bool:
    """Whether an answer of some tokens is at least so many times as long as another."""
    return ours >= times * theirs and ours - theirs >= MORE_TOKENS


def points(fraction: float) -> str:
    """Returns a drop in percentage points, as `3.1 points`."""
    return f"{100 * fraction:.1f} points"


def harm_hypothesis(tolerate: float) -> str:
    """Returns what is ruled out where capability was lost."""
    return f"a loss of at most {_exact(tolerate)}" if tolerate > 0.0 else "no loss"


def harmless_hypothesis(catch: float) -> str:
    """Returns what is ruled out where nothing of the size that must be caught was lost."""
    return f"a loss of {_exact(catch)}"


def interval_text(interval: Interval, *, gain: bool = False) -> str:
    """Returns an interval of a drop in points, or that of the gain which it is."""
    low, high, level = interval
    low, high = (-high, -low) if gain else (low, high)
    return f"{100 * level:.4g} % interval {100 * low:+.1f} to {100 * high:+.1f}"


def _exact(fraction: float) -> str:
    number = f"{100 * fraction:.4g}"
    return f"{number} point{'' if number == '1' else 's'}"


def _fields(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    return {name: getattr(value, name) for name in value.__dataclass_fields__}  # type: ignore[attr-defined]
