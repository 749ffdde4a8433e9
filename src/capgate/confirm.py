"""`--confirm`: a subject that fails is asked once more before it fails for good.

The rule of two looks: a subject fails where the first look rejects at its share *and* the
second, of fresh answers in another order, rejects as well. Both shares come out of the one
budget: before anything is asked, `SHARE` of every part is set aside, the first look keeps the
rest, and the second is tested at what was set aside. A subject can thus fail only where the
first look rejects, whose shares add up to less than without a second look: the rule's chance
of a false alarm is at most that of the first look alone, and over the whole run at most
`false_alarm`, however the two looks depend on each other (they share their questions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from capgate.gate.conclude import conclude_suite
from capgate.gate.policy import Budget, Policy
from capgate.gate.verdict import Verdict

SHARE: Final = 0.2
"""Share of every part of the budget that is set aside for second looks."""


def first_look(policy: Policy, *, paired: bool) -> Budget:
    """The budget of a run whose failing subjects are asked again."""
    return Budget.whole(policy, paired=paired).reserve(SHARE)


def second_look(first: Budget) -> Budget:
    """The budget of a second look at one subject; judge it with `n_subjects=1`."""
    return Budget(first.total, 0.0, first.reserved, 0.0)


def confirm_subject(first: Verdict, second: Verdict) -> Verdict:
    """The verdict on a subject that was asked twice.

    Args:
        first: REGRESSION, by the first look.
        second: What the second look alone says.
    """
    said = second.reasons[0]
    if second.kind == "REGRESSION":
        return replace(first, reasons=(*first.reasons, f"Confirmed when asked again: {said}"))
    if second.kind == "PASS":
        why = f"Not confirmed when asked again: {said}"
        return replace(first, kind="PASS", reasons=(why, f"At first: {first.reasons[0]}"))
    return replace(first, reasons=(*first.reasons, f"Could not be confirmed: {said}"))


def confirm_suite(first: Verdict, seconds: Mapping[str, Verdict]) -> Verdict:
    """The suite's verdict when the subjects it names were asked again.

    Args:
        first: The suite's, with `failed_subjects`.
        seconds: Each of these subjects to what its second look alone says.
    """
    cleared = sorted(s for s, second in seconds.items() if second.kind == "PASS")
    if cleared:
        subjects = tuple(
            replace(one, failed=False) if one.subject in cleared else one for one in first.subjects
        )
        # What was said besides the gate's own reasons (such as of --max-cost) is said still.
        own = conclude_suite(first).reasons
        besides = tuple(reason for reason in first.reasons if reason not in own)
        first = conclude_suite(replace(first, subjects=subjects))
        first = replace(first, reasons=(*besides, *first.reasons))
    reasons = list(first.reasons)
    for kinds, what in (
        (("REGRESSION",), "Confirmed when asked again"),
        (("PASS",), "Not confirmed when asked again, and so not counted as lost"),
        (("ERROR", "INCONCLUSIVE"), "Could not be confirmed, and so stand as they are"),
    ):
        named = sorted(s for s, second in seconds.items() if second.kind in kinds)
        if named:
            reasons.append(f"{what}: {', '.join(named)}.")
    return replace(first, reasons=tuple(reasons))
