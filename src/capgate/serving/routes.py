"""The routes behind a router such as OpenRouter, and whether those of two runs agree.

Several providers may serve one model name, at several quantizations, and with another version
next week. Two runs are comparable only if the same routes answered both. A user may allow
differences by name (`--allow-routes`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from typing import Any, Final

from capgate.common.answers import Answer
from capgate.common.errors import ReferenceMissingError

ROUTER: Final = "router"
"""The key of an endpoint's identity that marks a router, which passes requests on."""


def is_routed(identity: Mapping[str, Any]) -> bool:
    """Whether a router chooses who answers for a target.

    Args:
        identity: The facts of its fingerprint.
    """
    inner = identity.get("identity")
    return isinstance(inner, Mapping) and bool(inner.get(ROUTER))


def routes_of(answers: Iterable[Answer]) -> dict[str, int]:
    """Route (`Provider/model@quantization`) to its number of answers, the largest first."""
    counts = Counter(answer.served_by for answer in answers if answer.served_by)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def clash(
    ours: Iterable[str],
    theirs: Iterable[str],
    allowed: Sequence[str] = (),
    *,
    whole: bool = True,
) -> str:
    """How the routes of two sides differ, as a clause; `""` if they do not.

    Args:
        ours: The routes that answered the run.
        theirs: The routes that answered what it is compared with.
        allowed: Routes that may differ: a provider's name, or a whole route.
        whole: Whether `ours` are the routes of a whole run; a part of a run may lack some.
    """
    own, other = set(ours), set(theirs)
    if not own or not other:
        return ""
    new = sorted(route for route in own - other if not _is_allowed(route, allowed))
    gone = sorted(route for route in other - own if not _is_allowed(route, allowed))
    parts = []
    if new:
        parts.append(f"{', '.join(new)} answered this run and not the other")
    if gone and whole:
        parts.append(f"{', '.join(gone)} answered the other and not this run")
    return "; ".join(parts)


def check_routes(
    target: str,
    ours: Iterable[str],
    theirs: Iterable[str],
    allowed: Sequence[str],
    *,
    whole: bool,
) -> None:
    """Refuses a comparison across different routes.

    Raises:
        ReferenceMissingError: The routes differ, and not all of the difference is allowed.
    """
    own, other = set(ours), set(theirs)
    found = clash(own, other, allowed, whole=whole)
    if not found:
        return
    names = sorted({provider_of(route) for route in own ^ other if whole or route in own})
    raise ReferenceMissingError(
        f"other routes answered than those it is compared with: {found}",
        target=target,
        remedy="pin its route (`route: {only: […]}` in the targets' file), record the baseline "
        f"anew, or allow the difference by name: --allow-routes {quote(','.join(names))}",
    )


def provider_of(route: str) -> str:
    """The provider's name in a route."""
    return route.partition("/")[0]


def _is_allowed(route: str, allowed: Sequence[str]) -> bool:
    names = {name.strip().lower() for name in allowed}
    return route.lower() in names or provider_of(route).lower() in names
