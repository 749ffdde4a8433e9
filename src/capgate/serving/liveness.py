"""Proof that an adapter does something: base and adapter, the same prompts, other odds.

vLLM loads an adapter that was made for another base with a 200 and then ignores it; its
answers are the base's, and a gate would pass them all. So before any scoring both get the
same prompts and their log-probabilities must differ by more than the base differs from
itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from capgate.client import Client, ClientLimits
from capgate.errors import AdapterError
from capgate.replies import Completion
from capgate.serving.endpoint import Endpoint
from capgate.serving.loops import in_own_loop

PROMPTS: Final = (
    "Name three things that float on water.",
    "Which of these numbers is even? A) 3 B) 5 C) 8 D) 9",
    "Explain in one sentence why the sky is blue.",
    "Write the next line: roses are red,",
)
_TOKENS: Final = 8
_TOP: Final = 5
_MARGIN: Final = 1e-4
"""Nats below which a difference is rounding, whatever the base's own."""

_TIMES_NOISE: Final = 4.0


@dataclass(frozen=True, slots=True)
class Liveness:
    """How far an adapter is from its base.

    Attributes:
        by: `log-probabilities`, or `texts` where the server gives none.
        difference: Largest difference in nats; with texts, the share of prompts that differ.
        noise: The same between two answers of the base.
    """

    by: str
    difference: float
    noise: float

    @property
    def live(self) -> bool:
        """Whether the adapter differs from its base by more than the base from itself."""
        if self.by == "texts":
            return self.difference > self.noise
        return self.difference > max(_MARGIN, _TIMES_NOISE * self.noise)


async def measure(base: Endpoint, adapter: Endpoint, prompts: Sequence[str] = PROMPTS) -> Liveness:
    """Asks base, base again, and adapter, one request at a time.

    Raises:
        RequestFault: The server gave no answer.
    """
    asked: list[list[Completion]] = []
    for endpoint in (base, base, adapter):
        limits = ClientLimits(connections=1, attempt_timeout=60.0)
        client = Client(
            endpoint.base_url,
            target=endpoint.target,
            model=endpoint.model,
            key=endpoint.key or "",
            limits=limits,
        )
        async with client:
            asked.append([await client.complete(_request(endpoint, p)) for p in prompts])
    first, again, other = asked
    if all(completion.logprobs for one in asked for completion in one):
        return Liveness("log-probabilities", _distance(first, other), _distance(first, again))
    return Liveness("texts", _changed(first, other), _changed(first, again))


def check_live(base: Endpoint, adapter: Endpoint) -> Liveness:
    """Makes sure that an adapter is live.

    Raises:
        AdapterError: It changes nothing.
        RequestFault: The server gave no answer.
    """
    liveness = in_own_loop(lambda: measure(base, adapter))
    if liveness.live:
        return liveness
    raise AdapterError(
        f"the adapter is loaded and does nothing: its {liveness.by} are the base's (largest "
        f"difference {liveness.difference:.2g}, the base differs from itself by "
        f"{liveness.noise:.2g})",
        target=adapter.target,
        remedy="likely causes: it was made for another base model (vLLM accepts such adapters and "
        "ignores them), its target_modules are not those of this model, or it was saved untrained "
        "(lora_B all zero)",
    )


def _request(endpoint: Endpoint, prompt: str) -> dict[str, Any]:
    salt = {"cache_salt": endpoint.salt} if endpoint.salt else {}
    return {
        **salt,
        "model": endpoint.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": _TOKENS,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": _TOP,
    }


def _distance(one: Sequence[Completion], other: Sequence[Completion]) -> float:
    """Largest difference of log-probabilities at the same place, until the texts part."""
    largest = 0.0
    for left, right in zip(one, other, strict=True):
        for a, b in zip(left.logprobs, right.logprobs, strict=False):
            odds = dict(b.top)
            shared = [abs(p - odds[token]) for token, p in a.top if token in odds]
            largest = max(largest, *shared, abs(a.logprob - b.logprob)) if shared else math.inf
            if a.token != b.token:
                break
    return largest


def _changed(one: Sequence[Completion], other: Sequence[Completion]) -> float:
    pairs = list(zip(one, other, strict=True))
    return sum(left.text != right.text for left, right in pairs) / len(pairs)
