"""What came back of the questions that were asked, and what of it keeps a verdict from being."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from capgate.asking.ready_target import ShardResult
from capgate.common.answers import Answer
from capgate.gate.conclude import too_many_errors, too_many_unread
from capgate.gate.policy import Policy
from capgate.gate.rows import Single, count_singles
from capgate.gate.verdict import Scope, Verdict

Results = dict[str, ShardResult]
"""Target's id to its result of one batch of questions."""


def answers_of(batches: Sequence[Results]) -> dict[str, list[Answer]]:
    """Target's id to its answers over some batches."""
    answers: dict[str, list[Answer]] = {}
    for results in batches:
        for target, result in results.items():
            answers.setdefault(target, []).extend(result.answers)
    return answers


def no_answer(batches: Sequence[Results], *, latest: Results | None = None) -> str | None:
    """The fault of a target that is out of reach; None where all are within reach.

    A target is out of reach where it answered no question of a batch. A batch of one question
    counts only where the target answered nothing else: the question may have been too long.

    Args:
        batches: All that was asked so far.
        latest: The only batch to look at, where the earlier ones were looked at already.
    """
    for results in batches if latest is None else [latest]:
        for target, result in results.items():
            if result.not_put or any(answer.state.scored for answer in result.answers):
                continue
            if len(result.answers) > 1 or not any(
                answer.state.scored for one in batches for answer in one[target].answers
            ):
                return result.fault or "no question was answered"
    return None


def not_put(batches: Sequence[Results]) -> int:
    """Questions that were not put, since they could have passed `--max-cost`."""
    return sum(result.not_put for results in batches for result in results.values())


def bounded(verdict: Verdict | None, batches: Sequence[Results]) -> Verdict | None:
    """A verdict that tells first of questions that were not put because of their cost."""
    left = not_put(batches)
    if verdict is None or not left:
        return verdict
    reason = f"{left:,} questions were not put, since they could have passed --max-cost."
    return replace(verdict, reasons=(reason, *verdict.reasons))


def not_measured(
    answers: Sequence[Answer], policy: Policy, scope: Scope, subject: str | None = None
) -> Verdict | None:
    """The verdict on answers that are only measured: None, unless too many say nothing.

    Args:
        answers: The target's.
        policy: Says how many answers may be missing or unreadable.
        scope: What is measured.
        subject: The subject, where it is one.
    """
    counts = count_singles([Single.of(answer) for answer in answers])
    one_subject = scope == "subject"
    reasons = (
        too_many_errors(counts, policy),
        too_many_unread(counts, policy, few=one_subject) if counts.n else None,
    )
    if not any(reasons):
        return None
    return Verdict(
        kind="INCONCLUSIVE",
        scope=scope,
        subject=subject,
        counts=counts,
        policy=policy,
        reasons=tuple(filter(None, reasons)),
    )


def all_alike(theirs: Mapping[str, Sequence[Answer]], base: str, target: str) -> bool:
    """Whether every text of a target is its base's.

    The text of an error and an empty one tell nothing of the model.

    Args:
        theirs: Target's id to its answers, those of base and target in one order.
        base: The base's id.
        target: The target's id.
    """
    return not any(
        ours.text != its.text and (ours.text or its.text)
        for its, ours in zip(theirs[base], theirs[target], strict=True)
        if its.state.scored and ours.state.scored
    )
