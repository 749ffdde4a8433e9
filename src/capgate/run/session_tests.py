"""What the tests of a pytest session will ask of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from capgate.run.judgement import Mode


def _none(target: str) -> None:
    """Knows nothing of a target."""


def _no(target: str) -> bool:  # noqa: ARG001
    """Says no of every target."""
    return False


def _nothing_follows(target: str, subject: str) -> tuple[str, ...]:  # noqa: ARG001
    """Knows of no test that comes later."""
    return ()


@dataclass(frozen=True)
class SessionTests:
    """What a session's tests will ask; by default, nothing is known of it.

    Attributes:
        mode: Target to what its tests were asked for; None where that is not known.
        planned: Target to the subjects that its tests ask, none for a quick run's; None where
            that is not known.
        following: Target and subject to the subjects that its tests ask after that one.
        beside_quick: Whether tests judge subjects of a target beside a quick run.
    """

    mode: Callable[[str], Mode | None] = _none
    planned: Callable[[str], Collection[str] | None] = _none
    following: Callable[[str, str], Sequence[str]] = _nothing_follows
    beside_quick: Callable[[str], bool] = _no
