"""`--confirm`: a subject or domain that lost is asked once more before it fails for good.

The rule of two looks: a group fails where the first look rejects at its share *and* the
second, of fresh answers in another order, rejects as well. Both shares are parts of one
budget: before anything is asked, `SHARE` of every part is set aside, the first look keeps the
rest, and the second is tested at what was set aside. So a group can fail only where the
first look rejects, whose shares add up to less than without a second look: the rule's chance
of a false alarm is at most that of the first look alone, and over the whole run at most
`false_alarm`, however the two looks depend on each other (they share their questions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from capgate.gate.budget import Budget
from capgate.gate.conclude import conclude_suite
from capgate.gate.groups import cleared
from capgate.gate.policy import Policy
from capgate.gate.verdict import GroupFinding, Verdict

SHARE: Final = 0.2
"""Share of every part of the budget that is set aside for second looks."""


_CLEARED: Final = frozenset({"kept", "too few to tell"})
"""What a second look says of a group whose loss it does not confirm."""


def first_look(whole: Budget) -> Budget:
    """The budget of a run whose failing groups are asked again, from that of one look."""
    return whole.reserve(SHARE)


def second_look(first: Budget) -> Budget:
    """The budget of a second look at one group; judge a subject with `n_subjects=1`."""
    return Budget(first.total, 0.0, first.reserved, 0.0, domains=first.reserved)


def confirm_subject(first: Verdict, second: Verdict) -> Verdict:
    """The verdict on a subject that was asked twice.

    Args:
        first: `lost`, by the first look.
        second: What the second look alone says.
    """
    said = second.reasons[0]
    if second.kind == "lost":
        return replace(first, reasons=(*first.reasons, f"Confirmed when asked again: {said}"))
    if second.kind in _CLEARED:
        why = f"Not confirmed when asked again: {said}"
        _, harmless = first.evidence
        return replace(
            first,
            kind="kept" if harmless.rejected else "too few to tell",
            reasons=(why, f"At first: {first.reasons[0]}"),
        )
    return replace(first, reasons=(*first.reasons, f"Could not be confirmed: {said}"))


def confirm_suite(
    first: Verdict, seconds: Mapping[str, Verdict], domains: Mapping[str, Verdict] | None = None
) -> Verdict:
    """The suite's verdict when the subjects and domains it names were asked again.

    Args:
        first: The suite's, with `failed_subjects` and `failed_domains`.
        seconds: Each of these subjects to what its second look alone says.
        domains: Likewise each of these domains.
    """
    domains = domains or {}
    policy = first.policy
    assert policy is not None
    subjects = _cleared(first.subjects, seconds, policy)
    wholes = _cleared(first.domains, domains, policy)
    if (subjects, wholes) != (first.subjects, first.domains):
        # What was said besides the gate's own reasons (such as of --max-cost) is said still.
        own = conclude_suite(first).reasons
        besides = tuple(reason for reason in first.reasons if reason not in own)
        first = conclude_suite(replace(first, subjects=subjects, domains=wholes))
        first = replace(first, reasons=(*besides, *first.reasons))
    reasons = list(first.reasons)
    for kinds, what in (
        (frozenset({"lost"}), "Confirmed when asked again"),
        (_CLEARED, "Not confirmed when asked again, and so not counted as lost"),
        (frozenset({"ERROR", "INCONCLUSIVE"}), "Could not be confirmed, and so stand as they are"),
    ):
        named = [
            name
            for group in (domains, seconds)
            for name, second in sorted(group.items())
            if second.kind in kinds
        ]
        if named:
            reasons.append(f"{what}: {', '.join(named)}.")
    return replace(first, reasons=tuple(reasons))


def _cleared(
    found: tuple[GroupFinding, ...], seconds: Mapping[str, Verdict], policy: Policy
) -> tuple[GroupFinding, ...]:
    return tuple(
        cleared(one, policy) if one.name in seconds and seconds[one.name].kind in _CLEARED else one
        for one in found
    )
