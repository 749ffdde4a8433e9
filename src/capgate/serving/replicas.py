"""The endpoints of one target, made one: each is proven by itself, and all must be alike.

Several servers answer for a target only if they serve the same weights in the same way. What a
server says of itself does not show that, so the log-probabilities of fixed prompts are compared
between them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from capgate.client.faults import CONNECTION_KINDS
from capgate.common.errors import CapgateError, DifferentReplicasError, RequestFault
from capgate.common.text import one_line
from capgate.serving.addresses import Address
from capgate.serving.endpoint import Endpoint
from capgate.serving.signature import TEXTS_NOISE, difference

Opened = Mapping[str, Endpoint | CapgateError]
"""Target's id to its endpoint on one server, or to why it has none there."""

NOT_THERE: Final = CONNECTION_KINDS | {"timeout"}
"""Faults of a server that does not answer at all; it may be back later."""

_SHOWN: Final = 160


def together(
    targets: Sequence[str], addresses: Sequence[Address], opened: Sequence[Opened]
) -> dict[str, Endpoint | CapgateError]:
    """Makes one endpoint of each target's endpoints.

    An endpoint that does not answer is left out, as one that stops answering later is. Any other
    fault of one endpoint is the target's.

    Args:
        targets: The ids of a base and of its adapters, the base first.
        addresses: Where the endpoints are; more than one.
        opened: What was found at each.
    """
    results: dict[str, Endpoint | CapgateError] = {}
    base = targets[0]
    for target in targets:
        found = [one[target] for one in opened]
        result = _one(addresses, found)
        of_base = results.get(base)
        if isinstance(of_base, DifferentReplicasError):
            # What is compared with a base that is not one model can't be judged either.
            result = of_base
        results[target] = result
    return results


def _one(
    addresses: Sequence[Address], found: Sequence[Endpoint | CapgateError]
) -> Endpoint | CapgateError:
    """The endpoint of one target that stands for all, or why it has none."""
    live: list[Endpoint] = []
    absent: list[tuple[Address, RequestFault]] = []
    for address, one in zip(addresses, found, strict=True):
        if isinstance(one, Endpoint):
            live.append(replace(one, place=address.place))
        elif isinstance(one, RequestFault) and one.kind in NOT_THERE:
            absent.append((address, one))
        else:
            return named(one, address.place)
    if not live:
        return none_answers(absent)
    first = live[0]
    notes: list[str] = []
    for other in live[1:]:
        how = unlike(other, first)
        if how:
            return different(first, other, how)
        if not proven_alike(other, first):
            notes.append(
                f"nothing proves that {other.place} serves the same weights as {first.place}: the "
                "server gives no log-probabilities"
            )
    notes += [
        f"its endpoint {address.place} does not answer ({fault.what}) and is left out"
        for address, fault in absent
    ]
    apart = any(one.apart for one in live)
    others = tuple(replace(one, apart=apart) for one in live[1:])
    return replace(
        first,
        apart=apart,
        notes=(*first.notes, *notes),
        others=others,
        absent=tuple(address for address, _ in absent),
    )


def as_before(
    now: Endpoint | CapgateError, then: Endpoint | CapgateError | None
) -> Endpoint | CapgateError:
    """An endpoint that is back, if it serves what the target's endpoints did; else its fault.

    Args:
        now: What was found.
        then: The target's endpoints when the run began.
    """
    if not (isinstance(now, Endpoint) and isinstance(then, Endpoint)):
        return now
    how = unlike(now, then)
    if how:
        return different(now, then, how)
    return replace(now, apart=now.apart or then.apart)


def with_another(first: Endpoint, other: Endpoint) -> Endpoint:
    """A target's endpoints, with one that did not answer when the run began."""
    if any(one.base_url == other.base_url for one in first.all):
        return first
    absent = tuple(one for one in first.absent if one.base_url != other.base_url)
    return replace(first, others=(*first.others, other), absent=absent)


def unlike(one: Endpoint, other: Endpoint) -> str:
    """What shows that two endpoints of a target serve different things; `""` if nothing does."""
    if one.engine != other.engine:
        return f"{one.engine or 'an unknown engine'} answers at one, {other.engine} at the other"
    mine, theirs = one.observation, other.observation
    if mine is None or theirs is None:
        return ""
    if mine.weights and theirs.weights and mine.weights != theirs.weights:
        return "the files of their weights differ"
    if mine.signature is None or theirs.signature is None:
        return ""
    if mine.signature.by != theirs.signature.by:
        return f"one gives {mine.signature.by}, the other only {theirs.signature.by}"
    if mine.signature.by == "texts":
        noise = max(mine.signature.mean_noise, theirs.signature.mean_noise)
        if noise > TEXTS_NOISE or mine.signature.empty or theirs.signature.empty:
            return ""
        return difference(mine.signature, theirs.signature, lenient=True)
    return difference(mine.signature, theirs.signature)


def proven_alike(one: Endpoint, other: Endpoint) -> bool:
    """Whether log-probabilities show that two endpoints serve the same weights."""
    seen = (one.observation, other.observation)
    signatures = [None if it is None else it.signature for it in seen]
    return not unlike(one, other) and all(
        it is not None and it.by == "log-probabilities" for it in signatures
    )


def different(one: Endpoint, other: Endpoint, how: str) -> DifferentReplicasError:
    """The fault of two endpoints that do not serve the same.

    Args:
        one: The first.
        other: The other.
        how: What shows it, as a clause.
    """
    both = (
        f"its endpoint {one.place} does not serve what it did"
        if one.place == other.place
        else f"its endpoints {one.place} and {other.place} do not serve the same model"
    )
    return DifferentReplicasError(
        f"{both} ({how})",
        target=one.target,
        remedy="serve the same weights in the same precision by the same engine at all of them, "
        "or make two targets of them",
    )


def named(fault: CapgateError, place: str) -> CapgateError:
    """A fault that says at which endpoint of a target it happened."""
    other = copy.copy(fault)
    other.what = f"at its endpoint {place}: {fault.what}"
    return other


def none_answers(absent: Sequence[tuple[Address, RequestFault]]) -> RequestFault:
    """The fault of a target none of whose endpoints answers; it names all of them."""
    each = "; ".join(
        f"{address.place}: {one_line(fault.what, limit=_SHOWN)}" for address, fault in absent
    )
    first = absent[0][1].copy()
    first.what = f"none of its {len(absent)} endpoints answers ({each})"
    return first
