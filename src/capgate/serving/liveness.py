"""Proof that an adapter does something: base and adapter, the same prompts, other odds.

vLLM loads an adapter that was made for another base with a 200 and then ignores it; its
answers are the base's, and a gate would pass them all. So before any scoring both get the
same prompts and their log-probabilities must differ by more than the base differs from
itself. The reverse fault is looked for as well: a server that answers both in one batch may
apply the adapter to the base, and the two would look alike in the benchmark alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capgate.client import Client, ClientLimits
from capgate.errors import AdapterError, RequestFault
from capgate.replies import Completion, TokenLogprobs
from capgate.serving.endpoint import Endpoint
from capgate.serving.loops import in_own_loop

PROMPTS: Final = (
    "Name three things that float on water.",
    "Which of these numbers is even? A) 3 B) 5 C) 8 D) 9",
    "Explain in one sentence why the sky is blue.",
    "Write the next line: roses are red,",
)
_TOKENS: Final = 8
_LONG: Final = 64
"""Tokens where texts alone tell, and of the adapter's answers that shall outlast the base's."""

_TOP: Final = 5
_MARGIN: Final = 1e-4
"""Nats below which a difference is rounding, whatever the base's own."""

_TIMES_NOISE: Final = 4.0
_TIMES_NEARER: Final = 2.0
"""How much nearer to the adapter than to itself the base must be. Batching's rounding moves it
anywhere, and of many directions hardly ever in that one."""

_PROMPTS_MIXED: Final = 2


@dataclass(frozen=True, slots=True)
class Liveness:
    """How far an adapter is from its base.

    Attributes:
        by: `log-probabilities`, or `texts` where the server gives none.
        difference: Largest difference in nats; with texts, the share of prompts that differ.
        noise: The same between two answers of the base.
        mixes: Whether the base, asked at the same time as the adapter, answers as the adapter
            does; False where that was not looked for.
    """

    by: str
    difference: float
    noise: float
    mixes: bool = False

    @property
    def live(self) -> bool:
        """Whether the adapter differs from its base by more than the base from itself."""
        if self.by == "texts":
            return self.difference > self.noise
        return self.difference > max(_MARGIN, _TIMES_NOISE * self.noise)


async def measure(
    base: Endpoint,
    adapter: Endpoint,
    prompts: Sequence[str] = PROMPTS,
    *,
    together: bool = False,
) -> Liveness:
    """Asks base, base again, and adapter, one request at a time.

    Args:
        base: The base.
        adapter: The adapter.
        prompts: What both are asked.
        together: Ask both once more, at the same time, to see whether the server mixes them up.

    Raises:
        RequestFault: The server gave no answer.
    """
    fields: dict[str, Any] = {
        "max_tokens": _TOKENS,
        "logprobs": True,
        "top_logprobs": _TOP,
        "temperature": 0.0,
    }
    while True:
        try:
            first = await _ask(base, prompts, fields)
            break
        except RequestFault as fault:
            if fault.cause == "temperature" and not fields["temperature"]:
                # Log-probabilities tell at any temperature.
                fields |= {"temperature": 1.0}
            elif fault.kind == "bad_request" and "logprobs" in fields:
                # vLLM under --max-logprobs 0 does not accept such a request.
                fields = {"max_tokens": _LONG, "temperature": fields["temperature"]}
            else:
                raise
    again, other = await _ask(base, prompts, fields), await _ask(adapter, prompts, fields)
    mixed: list[Completion] = []
    if together:
        # The adapter's are sent first and are longer, so that none of the base's is alone.
        company = asyncio.create_task(
            _ask(adapter, prompts, {**fields, "max_tokens": _LONG}, at_once=len(prompts))
        )
        beside = _ask(base, prompts, fields, at_once=len(prompts))
        mixed, _ = await asyncio.gather(beside, company)
    if all(completion.logprobs for one in (first, again, other, mixed) for completion in one):
        pulled = [_pulled(*three) for three in zip(first, other, mixed, strict=False)]
        by, apart, noise = "log-probabilities", _distance(first, other), _distance(first, again)
    else:
        pulled = [
            b.text == a.text != own.text for own, a, b in zip(first, other, mixed, strict=False)
        ]
        by, apart, noise = "texts", _changed(first, other), _changed(first, again)
    return Liveness(by, apart, noise, sum(pulled) >= _PROMPTS_MIXED)


def check_live(base: Endpoint, adapter: Endpoint, *, together: bool = False) -> Liveness:
    """Makes sure that an adapter is live.

    Args:
        base: Its base.
        adapter: The adapter.
        together: See `measure`.

    Raises:
        AdapterError: It changes nothing.
        RequestFault: The server gave no answer.
    """
    liveness = in_own_loop(lambda: measure(base, adapter, together=together))
    if liveness.live:
        return liveness
    blind = liveness.by == "texts"
    raise AdapterError(
        f"the adapter is loaded and does nothing: its {liveness.by} are the base's (largest "
        f"difference {liveness.difference:.2g}, the base differs from itself by "
        f"{liveness.noise:.2g})",
        target=adapter.target,
        remedy="likely causes: it was made for another base model (vLLM accepts such adapters and "
        "ignores them), its target_modules are not those of this model, or it was saved untrained "
        "(lora_B all zero)"
        + ("; the server gives no log-probabilities, which show more" if blind else ""),
    )


async def _ask(
    endpoint: Endpoint, prompts: Sequence[str], fields: dict[str, Any], *, at_once: int = 1
) -> list[Completion]:
    salt = {"cache_salt": endpoint.salt} if endpoint.salt else {}
    client = Client(
        endpoint.base_url,
        target=endpoint.target,
        model=endpoint.model,
        key=endpoint.key or "",
        limits=ClientLimits(connections=at_once, attempt_timeout=60.0),
        max_tokens_field=endpoint.max_tokens_field,
    )

    def one(prompt: str) -> Coroutine[Any, Any, Completion]:
        messages = [{"role": "user", "content": prompt}]
        return client.complete({**salt, **fields, "model": endpoint.model, "messages": messages})

    async with client:
        if at_once == 1:
            return [await one(prompt) for prompt in prompts]
        return await asyncio.gather(*map(one, prompts))


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


def _pulled(own: Completion, adapter: Completion, mixed: Completion) -> bool:
    """Whether the base's answer beside the adapter is the adapter's rather than its own.

    Looks at the places up to which all three wrote the same.
    """
    to_adapter = to_own = 0.0
    for a, b, c in zip(own.logprobs, adapter.logprobs, mixed.logprobs, strict=False):
        to_own += _squared(a, c)
        to_adapter += _squared(b, c)
        if not a.token == b.token == c.token:
            break
    return math.sqrt(to_own) > max(_MARGIN, _TIMES_NEARER * math.sqrt(to_adapter))


def _squared(one: TokenLogprobs, other: TokenLogprobs) -> float:
    """Squared distance of two places' log-probabilities; what is not listed has the least."""
    left, right = ({place.token: place.logprob, **dict(place.top)} for place in (one, other))
    least = min(*left.values(), *right.values())
    tokens = left.keys() | right.keys()
    return sum((left.get(t, least) - right.get(t, least)) ** 2 for t in tokens)


def _changed(one: Sequence[Completion], other: Sequence[Completion]) -> float:
    pairs = list(zip(one, other, strict=True))
    return sum(left.text != right.text for left, right in pairs) / len(pairs)
