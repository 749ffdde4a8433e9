"""Whether a failed request is sent again, and after how many seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass

from capgate.client.faults import TRANSIENT_KINDS
from capgate.client.limits import ClientLimits
from capgate.common.errors import RequestFault


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The rules for further attempts.

    Attributes:
        limits: The client's times and counts.
    """

    limits: ClientLimits

    def again(self, fault: RequestFault, attempts: int) -> bool:
        """Whether a request is sent again.

        Args:
            fault: How the latest attempt ended.
            attempts: How many were made.
        """
        return fault.kind in TRANSIENT_KINDS and attempts <= self.limits.max_retries

    def asked_wait(self, fault: RequestFault) -> float | None:
        """Seconds that the server asked us to wait, up to the cap; None where it did not ask."""
        if fault.retry_after is None:
            return None
        return min(fault.retry_after, self.limits.retry_after_cap)

    def back_off(self, fault: RequestFault, attempts: int) -> float:
        """Seconds to wait before the next attempt: longer each time, and at random.

        Args:
            fault: How the latest attempt ended.
            attempts: How many were made.
        """
        wait = min(self.limits.backoff_cap, self.limits.backoff * 2.0 ** (attempts - 1))
        return max(wait * random.uniform(0.75, 1.25), self.asked_wait(fault) or 0.0)
