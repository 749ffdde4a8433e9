"""From numbers to a verdict: the rules that paired, floor and sequential decisions share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from capgate.common.errors import ConfigError
from capgate.gate import stats
from capgate.gate.length import length_reason
from capgate.gate.policy import Policy
from capgate.gate.rows import FloorCounts, Pair, PairCounts, RowsError, Single, check_rows
from capgate.gate.verdict import (
    Evidence,
    UnparsedFinding,
    Verdict,
    VerdictKind,
    interval_text,
    points,
)

FEW_SHARE: Final = 0.05
"""Chance that the answers of a part are called unreadable though they are not more often so than
`max_unparsed` allows."""


def check_policy(policy: Policy) -> None:
    """Makes sure that a policy leaves room between what passes and what is caught.

    Raises:
        ConfigError: If `catch` is not larger than `tolerate`.
    """
    if policy.catch <= policy.tolerate:
        raise ConfigError(
            f"catch ({policy.catch:g}) must be larger than tolerate ({policy.tolerate:g})",
            remedy="raise `catch` or lower `tolerate`; between the two neither error is bounded",
        )


def judge_unparsed(
    counts: PairCounts, policy: Policy, evidence: Evidence | None
) -> UnparsedFinding | None:
    """Returns the finding on unreadable answers: it fails where size and test both say so."""
    if not counts.n:
        return None
    increase = (counts.candidate_unparsed - counts.reference_unparsed) / counts.n
    large = increase >= policy.max_unparsed_increase - 1e-12
    return UnparsedFinding(
        reference_rate=counts.reference_unparsed / counts.n,
        candidate_rate=counts.candidate_unparsed / counts.n,
        increase=increase,
        limit=policy.max_unparsed_increase,
        evidence=evidence,
        failed=large and evidence is not None and evidence.rejected,
    )


def nothing_scored(counts: PairCounts | FloorCounts) -> str:
    """Returns the reason where every question ended in an error."""
    return f"No question was scored: all {counts.errors} ended without an answer."


def too_many_errors(counts: PairCounts | FloorCounts, policy: Policy) -> str | None:
    """Returns the reason where the error rate forbids a conclusion, else None."""
    rate = counts.error_rate
    if rate is None or rate <= policy.max_error_rate + 1e-12:
        return None
    return (
        f"{counts.errors} of {counts.n + counts.errors} questions ({rate:.1%}) have no answer; "
        f"more than {policy.max_error_rate:.1%} (max_error_rate) lets nothing be concluded."
    )


def too_many_unread(
    counts: PairCounts | FloorCounts,
    policy: Policy,
    *,
    few: bool = False,
    names: tuple[str, str] = ("the reference", "the candidate"),
) -> str | None:
    """Returns the reason where too many answers can't be read, on either side, else None.

    Args:
        counts: Of one or more scored questions.
        policy: Holds `max_unparsed`.
        few: The questions are a part of what was asked, such as a subject. An exact binomial test
            must then show, at `FEW_SHARE`, that the share is above the limit: one of a handful
            of answers says nothing of the others.
        names: What the reason calls the two sides.
    """
    reference, candidate = names
    if isinstance(counts, FloorCounts):
        sides = {candidate: (counts.unparsed, counts.cut_off)}
    else:
        sides = {
            reference: (counts.reference_unparsed, counts.reference_cut_off),
            candidate: (counts.candidate_unparsed, counts.candidate_cut_off),
        }
    limit, n = policy.max_unparsed, counts.n
    over = [
        f"{unread} of {n} answers of {side} are unreadable ({unread / n:.1%})"
        + (f", {cut_off} of them cut off at --max-tokens" if cut_off else "")
        for side, (unread, cut_off) in sides.items()
        if unread > limit * n + 1e-9
        and (not few or stats.binomial_above(unread, n, limit) <= FEW_SHARE)
    ]
    if not over:
        return None
    return (
        f"{'; '.join(over)}. More than {limit:.1%} (max_unparsed) lets nothing be concluded: raise "
        "--max-tokens, set answer_format: constrained for the target, or switch its thinking off."
    )


def hinges(counts: PairCounts | FloorCounts) -> str:
    """Returns the reason where the readings of the answers differ."""
    if not counts.errors:
        return (
            "The reference was asked twice, and its two looks give different verdicts: noise in "
            "its answers could decide."
        )
    one = counts.errors == 1
    return (
        f"The {'answer' if one else 'answers'} missing to {counts.errors} "
        f"{'question' if one else 'questions'} could decide: in the candidate's favour "
        f"{'it gives' if one else 'they give'} another verdict than against it."
    )


def pooled_kind(harm: Evidence, harmless: Evidence, drop: float, policy: Policy) -> VerdictKind:
    """Returns what the two pooled tests say on one reading of the answers."""
    if harm.rejected and harmless.rejected:
        return "REGRESSION" if drop > _middle(policy) else "PASS"
    if harm.rejected:
        return "REGRESSION"
    return "PASS" if harmless.rejected else "INCONCLUSIVE"


def agreed(kinds: Sequence[VerdictKind]) -> VerdictKind:
    """Returns what all readings of the answers say; INCONCLUSIVE where they differ."""
    return kinds[0] if len(set(kinds)) == 1 else "INCONCLUSIVE"


def weakest(found: Sequence[Evidence]) -> Evidence:
    """Returns the evidence of the reading that speaks least against the hypothesis."""
    return max(found, key=lambda one: one.value)


def _middle(policy: Policy) -> float:
    return (policy.tolerate + policy.catch) / 2.0


def unparsed_reason(finding: UnparsedFinding) -> str:
    """Returns why answers that became unreadable fail the gate."""
    before = f" (was {finding.reference_rate:.1%})" if finding.reference_rate is not None else ""
    return (
        f"Answers became unreadable: {finding.candidate_rate:.1%} unparsed{before}, "
        f"a rise of at least {points(finding.limit)} fails; {finding.evidence}."
    )


def conclude_suite(draft: Verdict) -> Verdict:
    """Returns the draft with its kind and reasons: pooled tests, unparsed, subjects, errors."""
    policy, counts, drop = draft.policy, draft.counts, draft.drop
    assert policy is not None
    assert counts is not None
    assert drop is not None
    kind = draft.pooled
    reasons = [_pooled_reason(draft, policy, drop)]
    failures: list[str] = []
    if draft.unparsed is not None and draft.unparsed.failed:
        failures.append(unparsed_reason(draft.unparsed))
    if draft.length is not None and draft.length.failed:
        failures.append(length_reason(draft.length))
    nouns = draft.nouns
    for what, named in (
        (nouns.parent, draft.failed_domains),
        (nouns.group, draft.failed_subjects),
    ):
        if named:
            listed = ", ".join(
                f"{one.name.replace('_', ' ')} ({points(one.drop)})" for one in named
            )
            tested = _tested(draft)
            failures.append(f"{what.capitalize()}s that lost (Holm over {tested}): {listed}.")
    if kind == "REGRESSION":
        reasons += failures
    elif failures:
        kind, reasons = "REGRESSION", [*failures, *reasons]
    elif draft.unsure:
        kind, reasons = "INCONCLUSIVE", [hinges(counts), *reasons]
    for too_many in (too_many_unread(counts, policy), too_many_errors(counts, policy)):
        if too_many:
            kind, reasons = "INCONCLUSIVE", [too_many, *reasons]
    return replace(draft, kind=kind, reasons=tuple(reasons))


def _pooled_reason(draft: Verdict, policy: Policy, drop: float) -> str:
    change = describe_drop(draft)
    harm, harmless = draft.evidence
    if draft.pooled == "INCONCLUSIVE":
        return f"{change} That rules out neither; more questions are needed: {harm}; {harmless}."
    if harm.rejected and harmless.rejected:
        middle = _middle(policy)
        side = "above" if drop > middle else "not above"
        return (
            f"{change} It lies between what is tolerated and what must be caught, "
            f"{side} their midpoint of {points(middle)}. {harm}; {harmless}."
        )
    return f"{change} {harm if draft.pooled == 'REGRESSION' else harmless}."


def _tested(draft: Verdict) -> str:
    subjects, domains = len(draft.subjects), len(draft.domains)
    if not domains:
        return f"{subjects}"
    group, parent = draft.nouns
    return f"{subjects} {group}s and {domains} {parent}{'' if domains == 1 else 's'}"


def conclude_group(draft: Verdict, harm: Evidence, harmless: Evidence) -> Verdict:
    """Returns one subject's or domain's draft with its word and reasons.

    It is `lost` on evidence only, and `kept` only where a loss of its `catch` is ruled out.
    """
    policy, counts = draft.policy, draft.counts
    assert policy is not None
    assert counts is not None
    kind: VerdictKind
    if harm.rejected:
        kind = "lost"
        reasons = [f"{describe_drop(draft)} {harm}.", _visible(draft, policy.catch)]
    elif harmless.rejected:
        kind, reasons = "kept", [f"{describe_drop(draft)} {harmless}."]
    else:
        kind = "too few to tell"
        reasons = [f"{describe_drop(draft)} {harm}; {harmless}.", _visible(draft, policy.catch)]
    if draft.unsure:
        kind, reasons = "INCONCLUSIVE", [hinges(counts), *reasons]
    for too_many in (too_many_unread(counts, policy, few=True), too_many_errors(counts, policy)):
        if too_many:
            kind, reasons = "INCONCLUSIVE", [too_many, *reasons]
    return replace(draft, kind=kind, reasons=tuple(reasons))


def describe_drop(verdict: Verdict) -> str:
    """Returns one sentence with the drop, its counts and its interval."""
    counts, drop = verdict.counts, verdict.drop
    if counts is None or drop is None:
        return "Nothing was scored."
    over = not isinstance(counts, PairCounts) and drop <= 0.0
    sure = f" ({interval_text(verdict.interval, gain=over)})" if verdict.interval else ""
    if isinstance(counts, PairCounts):
        what = f"Drop {points(drop)}{sure}: {counts.losses} lost, {counts.gains} gained"
        return f"{what} of {counts.n} questions."
    accuracy = counts.correct / counts.n
    side = f"{points(abs(drop))} {'over' if over else 'under'} the floor {verdict.floor:.1%}"
    return f"Accuracy {accuracy:.1%} on {counts.n} questions, {side}{sure}."


def _visible(verdict: Verdict, catch: float) -> str:
    n, seen = verdict.counts.n if verdict.counts else 0, verdict.smallest_visible_drop
    if seen is None:
        return f"With {n} questions not even a total loss would show."
    could = "could" if seen <= catch else "could not"
    return (
        f"With {n} questions a drop under {points(seen)} would usually not show: "
        f"one of {points(catch)} (catch) {could} be seen."
    )


def only_subject(rows: Sequence[Pair | Single]) -> str:
    """Returns the one subject that the rows are of.

    Raises:
        RowsError: If they can't be judged or are of several.
    """
    check_rows(rows)
    subjects = {row.subject for row in rows}
    if len(subjects) > 1:
        raise RowsError(
            f"one subject was to be judged, but the rows are of {len(subjects)}",
            remedy="judge each by itself, or all together with decide_fixed",
        )
    return subjects.pop()
