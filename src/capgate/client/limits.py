"""How long a client waits, how often it tries and how many requests it sends at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Times and counts of one client. All times are in seconds.

    Attributes:
        connections: Most requests in flight.
        attempt_timeout: From sending a request to its complete answer.
        connect_timeout: To open a connection.
        max_retries: Further attempts after the first.
        backoff: Wait before the second attempt; doubled for each further one.
        backoff_cap: Longest such wait.
        retry_after_cap: Longest wait that a server may ask for.
        patience: See `Breaker`; so are the next three.
        first_patience: See `Breaker`.
        rate_patience: See `Breaker`.
        cooldown: See `Breaker`.
    """

    connections: int = 64
    attempt_timeout: float = 120.0
    connect_timeout: float = 10.0
    max_retries: int = 5
    backoff: float = 0.5
    backoff_cap: float = 8.0
    retry_after_cap: float = 60.0
    patience: float = 20.0
    first_patience: float = 3.0
    rate_patience: float = 120.0
    cooldown: float = 30.0
