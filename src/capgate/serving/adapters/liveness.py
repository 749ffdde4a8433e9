"""Proves that an adapter changes its base's answers.

vLLM answers 200 to an adapter that was made for another base and then ignores it. Its answers
are the base's, and a gate would pass them all. So before any scoring base and adapter get the
same prompts, and their log-probabilities must differ by more than the base differs from itself.
The opposite fault is tested as well: a server that answers both in one batch may apply the
adapter to the base, so that the two seem equal in the benchmark.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from capgate.client.replies import TokenLogprobs
from capgate.common.errors import AdapterError, ContradictionError
from capgate.common.event_loop import in_own_loop
from capgate.serving.ask_signature import ask_prompts, ask_signature, signature_change
from capgate.serving.endpoint import Endpoint
from capgate.serving.signature import (
    LONG,
    MARGIN,
    PROMPTS,
    TIMES_NOISE,
    PromptAnswer,
    Signature,
    distance,
)

_TIMES_NEARER: Final = 2.0
"""How many times nearer to the adapter's than to its own earlier answer a base's answer must be.
Rounding in a batch moves an answer in a random direction, hardly ever towards the adapter's."""

_PROMPTS_MIXED: Final = 2


@dataclass(frozen=True, slots=True)
class Liveness:
    """How far an adapter's answers differ from its base's.

    Attributes:
        by: `log-probabilities`, or `texts` if the server gives none.
        difference: Largest difference in nats; with texts, the share of prompts that differ.
        noise: The same between two answers of the base.
        adapter: The adapter's answers.
        mixes: Whether the base, asked at the same time as the adapter, answers as the adapter
            does; False if that was not tested.
    """

    by: str
    difference: float
    noise: float
    adapter: Signature
    mixes: bool = False

    @property
    def live(self) -> bool:
        """Whether the adapter differs from its base by more than the base differs from itself."""
        if self.by == "texts":
            return self.difference > self.noise
        return self.difference > max(MARGIN, TIMES_NOISE * self.noise)


async def measure(
    base: Endpoint, adapter: Endpoint, *, seen: Signature, together: bool = False
) -> Liveness:
    """Asks the adapter the prompts that its base was asked, one request at a time.

    Args:
        base: The base.
        adapter: The adapter.
        seen: The base's answers.
        together: Ask both once more, at the same time, to see whether the server mixes them up.

    Raises:
        RequestFault: The server gave no answer.
    """
    first = seen.answers
    other = tuple(await ask_prompts(adapter, seen.prompts, seen.fields))
    by = seen.by
    if by == "log-probabilities" and not all(one.logprobs for one in other):
        by = "texts"
    mixes = await _mixed(base, adapter, first, other, seen) if together else False
    found = replace(seen, by=by, answers=other)
    return Liveness(by, distance(first, other, by), seen.noise, found, mixes)


async def _mixed(
    base: Endpoint,
    adapter: Endpoint,
    own: Sequence[PromptAnswer],
    tuned: Sequence[PromptAnswer],
    seen: Signature,
) -> bool:
    """Whether the base answers as its adapter, when both are asked at the same time."""
    # The adapter's requests are sent first and take longer, so each of the base's has company.
    company = asyncio.create_task(
        ask_prompts(adapter, PROMPTS, {**seen.fields, "max_tokens": LONG}, at_once=len(PROMPTS))
    )
    beside = ask_prompts(base, PROMPTS, seen.fields, at_once=len(PROMPTS))
    mixed, _ = await asyncio.gather(beside, company)
    return sum(map(_pulled, own, tuned, mixed)) >= _PROMPTS_MIXED


async def mixes_now(base: Endpoint, adapter: Endpoint, seen: Signature, tuned: Signature) -> bool:
    """Whether the base, asked at the same time as its adapter, answers as the adapter does.

    Args:
        base: The base.
        adapter: The adapter.
        seen: What the base answered by itself.
        tuned: What the adapter answered by itself.

    Raises:
        RequestFault: The server gave no answer.
    """
    return await _mixed(base, adapter, seen.answers, tuned.answers, seen)


def check_live(
    base: Endpoint, adapter: Endpoint, *, seen: Signature | None = None, together: bool = False
) -> Liveness:
    """Makes sure that an adapter is live.

    Args:
        base: Its base.
        adapter: The adapter.
        seen: The base's answers to the prompts, if they are known.
        together: See `measure`.

    Raises:
        AdapterError: The adapter changes nothing.
        ContradictionError: The base contradicts itself, so nothing can be proved.
        RequestFault: The server gave no answer.
    """

    async def prove() -> tuple[Liveness, str]:
        known = seen or await ask_signature(base)
        liveness = await measure(base, adapter, seen=known, together=together)
        if liveness.live:
            return liveness, ""
        if liveness.by != "texts" and liveness.difference > MARGIN:
            return liveness, f"asked twice, the base differs from itself by {liveness.noise:.2g}"
        return liveness, await signature_change(base, known)

    liveness, moved = in_own_loop(prove)
    if liveness.live:
        return liveness
    if liveness.adapter.empty:
        raise AdapterError(
            "nothing shows that the adapter is live: it answers the proof's prompts with empty "
            "texts, and the server gives no log-probabilities",
            target=adapter.target,
            remedy="look at one of its answers; check its chat template and its stop tokens, or "
            "serve it where log-probabilities are given",
        )
    if moved:
        raise contradiction(base, moved)
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


def contradiction(endpoint: Endpoint, how: str) -> ContradictionError:
    """The fault of a server that no longer answers as it did.

    Args:
        endpoint: The server and the model.
        how: What shows it, as a clause.
    """
    return ContradictionError(
        f"the server contradicts itself: {endpoint.model} at {endpoint.base_url} does not answer "
        f"as it did when this run began ({how})",
        target=endpoint.target,
        remedy="either somebody else is asking it, and it applies their adapter to other requests "
        "as well, or other weights were loaded meanwhile; run again when nobody else uses the "
        "server",
    )


def _pulled(own: PromptAnswer, adapter: PromptAnswer, mixed: PromptAnswer) -> bool:
    """Whether the base's answer beside the adapter is nearer to the adapter's than to its own.

    Compares the places up to the first token that differs between the three.
    """
    if not (own.logprobs and adapter.logprobs and mixed.logprobs):
        return mixed.text == adapter.text != own.text
    to_adapter = to_own = 0.0
    for a, b, c in zip(own.logprobs, adapter.logprobs, mixed.logprobs, strict=False):
        to_own += _squared(a, c)
        to_adapter += _squared(b, c)
        if not a.token == b.token == c.token:
            break
    return math.sqrt(to_own) > max(MARGIN, _TIMES_NEARER * math.sqrt(to_adapter))


def _squared(one: TokenLogprobs, other: TokenLogprobs) -> float:
    """Squared distance of two places' log-probabilities; an unlisted token has the lowest one."""
    left, right = ({place.token: place.logprob, **dict(place.top)} for place in (one, other))
    least = min(*left.values(), *right.values())
    tokens = left.keys() | right.keys()
    return sum((left.get(t, least) - right.get(t, least)) ** 2 for t in tokens)
