"""When to stop asking a server: a server that is gone told from one that fails for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from capgate.client.faults import CONNECTION_KINDS, FINAL_KINDS
from capgate.common.errors import FaultKind, RequestFault

_Sort = Literal["connection", "final", "request", "rate", "server"]


@dataclass(frozen=True, slots=True)
class _Rule:
    failures: int
    """Failures in a row, with no answer between."""
    patience: float
    """Seconds since the first of them was sent."""


_QUESTION_KINDS: Final[frozenset[FaultKind]] = frozenset({"context_too_long", "moderation"})


class Breaker:
    """Opens when a server can answer no request any more.

    It counts failures of one sort in a row. It opens after a few failures of a sort that concerns
    every request (key, credit, model, route), and after `patience` seconds without any
    answer where the server may come back. While it is open it holds the fault that every
    request ends with; each `cooldown` seconds it lets one request through as a test.

    Args:
        patience: Seconds without an answer after which a server that worked is gone.
        first_patience: The same for a server that never answered.
        rate_patience: The same where every answer is a rate limit.
        cooldown: Seconds between looks at a server that is gone.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        patience: float = 20.0,
        first_patience: float = 3.0,
        rate_patience: float = 120.0,
        cooldown: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fault: RequestFault | None = None
        self._patience = patience
        self._first_patience = first_patience
        self._rate_patience = rate_patience
        self._cooldown = cooldown
        self._clock = clock
        self._answered = False
        self._sort: _Sort | None = None
        self._count = 0
        self._since = 0.0
        self._look_at = 0.0

    @property
    def patience(self) -> float:
        """Seconds that a server may be out of reach before it counts as gone."""
        return self._patience if self._answered else self._first_patience

    def blocked(self) -> RequestFault | None:
        """Returns the fault that a request ends with now, or None where it may be sent."""
        if self.fault is None:
            return None
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + self._cooldown
            return None
        return self.fault

    def success(self) -> None:
        """Counts an answer."""
        self._answered = True
        self._sort = None
        self.fault = None

    def failure(self, fault: RequestFault, started: float) -> bool:
        """Counts a failure; True where the breaker is open after it.

        Args:
            fault: What the request or a look at the server ended with.
            started: When it was sent, on this object's clock.
        """
        if fault.kind in _QUESTION_KINDS:
            self.success()
            return False
        sort = self._sort_of(fault)
        if sort != self._sort:
            self._sort, self._count, self._since = sort, 0, started
        self._count += 1
        self._since = min(self._since, started)
        now = self._clock()
        rule = self._rule(sort)
        if self.fault is not None or (
            self._count >= rule.failures and now - self._since >= rule.patience
        ):
            self.fault = fault.copy()
            self._look_at = now + self._cooldown
            return True
        return False

    @staticmethod
    def _sort_of(fault: RequestFault) -> _Sort:
        if fault.kind in CONNECTION_KINDS:
            return "connection"
        if fault.kind in FINAL_KINDS:
            return "final"
        if fault.kind == "bad_request":
            return "request"
        return "rate" if fault.kind == "rate_limited" else "server"

    def _rule(self, sort: _Sort) -> _Rule:
        match sort:
            case "final":
                return _Rule(3, 0.0)
            case "request":
                return _Rule(16, 0.0)
            case "connection":
                return _Rule(3, self.patience)
            case "rate":
                return _Rule(8, self._rate_patience)
            case "server":
                return _Rule(8, self._patience)
