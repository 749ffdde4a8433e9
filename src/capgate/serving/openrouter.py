"""What OpenRouter lists for a model: its version, its providers, their prices and quantizations.

The source is two public lists: `GET /models`, and `GET /models/{author}/{slug}/endpoints`. An
answer names only its provider; the provider's quantization is looked up in the second list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from capgate.client.client import Client
from capgate.common.errors import RequestFault


@dataclass(frozen=True, slots=True)
class Price:
    """A price in US dollars.

    Attributes:
        prompt: For each token of the prompt.
        completion: For each token of the answer.
        request: For each request.
    """

    prompt: float
    completion: float
    request: float = 0.0

    def of(self, prompt: float, completion: float) -> float:
        """The price of a request in US dollars, by its numbers of tokens."""
        return self.request + self.prompt * prompt + self.completion * completion


@dataclass(frozen=True, slots=True)
class Offer:
    """What OpenRouter offers for one model, as far as it lists that.

    Attributes:
        version: The model's version: OpenRouter's permanent name of it.
        price: The listed price.
        dearest: The highest price of the route's providers; None unless all their prices are
            known.
        quantizations: Provider's name to what it serves the model at, such as `fp8`.
    """

    version: str = ""
    price: Price | None = None
    dearest: Price | None = None
    quantizations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def served_by(self, provider: str, model: str) -> str:
        """The route that is stored with an answer: `Provider/model@quantization`.

        If the provider offers several quantizations of the model, the route names all of them.
        """
        if not provider:
            return model
        known = "|".join(self.quantizations.get(provider, ()))
        return f"{provider}/{model}@{known}" if known else f"{provider}/{model}"


async def ask_offer(client: Client, model: str, route: Mapping[str, Any] | None) -> Offer:
    """Asks OpenRouter what it offers for a model; what it does not list stays unknown.

    Args:
        client: A client of OpenRouter.
        model: The model's name, such as `openai/gpt-4o`.
        route: The target's provider routing.

    Raises:
        RequestFault: OpenRouter did not send a list. Without the lists a model has no version,
            and its stored answers would not be found.
    """
    models = await client.get("models")
    endpoints: object = None
    try:
        endpoints = await client.get(f"models/{model.partition(':')[0]}/endpoints")
    except RequestFault as fault:
        # A router of models, such as `openrouter/auto`, has no providers of its own.
        if fault.kind not in {"not_found", "model_not_found"}:
            raise
    return read_offer(models, endpoints, model, route)


async def check_key(client: Client) -> str:
    """Asks how much the key may still spend; returns that in words.

    Raises:
        RequestFault: OpenRouter does not accept the key, or does not answer.
    """
    body = await client.get("key")
    data = body.get("data") if isinstance(body, dict) else None
    left = data.get("limit_remaining") if isinstance(data, dict) else None
    if isinstance(left, int | float) and not isinstance(left, bool):
        return f"accepted; it may still spend ${left:.2f}"
    return "accepted"


def read_offer(
    models: object, endpoints: object, model: str, route: Mapping[str, Any] | None
) -> Offer:
    """Reads the two lists.

    Args:
        models: Body of `GET /models`.
        endpoints: Body of `GET /models/{author}/{slug}/endpoints`.
        model: The model's name; a variant such as `:nitro` is its model's.
        route: The target's provider routing.
    """
    plain = model.partition(":")[0]
    listed = {str(entry.get("id")): entry for entry in _entries(models)}
    entry = listed.get(model) or listed.get(plain) or {}
    data = endpoints.get("data") if isinstance(endpoints, dict) else None
    offered = _entries({"data": data.get("endpoints")} if isinstance(data, dict) else None)
    allowed = [one for one in offered if _allows(route or {}, one)] or offered
    prices = [_price(one.get("pricing")) for one in allowed]
    listing = _price(entry.get("pricing"))
    quantizations: dict[str, set[str]] = {}
    for one in allowed:
        found = one.get("quantization")
        if isinstance(found, str) and found and found != "unknown":
            quantizations.setdefault(str(one.get("provider_name")), set()).add(found)
    return Offer(
        version=str(entry.get("canonical_slug") or ""),
        price=listing or _dearest(prices),
        dearest=_dearest([*prices, *filter(None, [listing])] if prices else []),
        quantizations={name: tuple(sorted(found)) for name, found in quantizations.items()},
    )


def _entries(body: object) -> list[dict[str, Any]]:
    data = body.get("data") if isinstance(body, dict) else None
    return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []


def _price(pricing: object) -> Price | None:
    if not isinstance(pricing, dict):
        return None
    try:
        price = Price(
            *(float(pricing.get(name) or 0.0) for name in ("prompt", "completion", "request"))
        )
    except (TypeError, ValueError):
        return None
    # A router of models has no price of its own; it is listed with -1.
    figures = (price.prompt, price.completion, price.request)
    return price if all(math.isfinite(one) and one >= 0 for one in figures) else None


def _dearest(prices: Sequence[Price | None]) -> Price | None:
    known = [one for one in prices if one is not None]
    if not known or len(known) < len(prices):
        return None
    return Price(
        max(one.prompt for one in known),
        max(one.completion for one in known),
        max(one.request for one in known),
    )


def _allows(route: Mapping[str, Any], endpoint: Mapping[str, Any]) -> bool:
    """Whether a target's routing lets an endpoint answer."""
    names = {_slug(endpoint.get("provider_name"))}
    tag = str(endpoint.get("tag") or "").lower()
    names |= {tag, tag.partition("/")[0]}
    only = route.get("only")
    if only is None and route.get("allow_fallbacks") is False:
        only = route.get("order")
    if isinstance(only, list) and not names & {_slug(name) for name in only}:
        return False
    ignored = route.get("ignore")
    if isinstance(ignored, list) and names & {_slug(name) for name in ignored}:
        return False
    wanted = route.get("quantizations")
    return not isinstance(wanted, list) or endpoint.get("quantization") in wanted


def _slug(name: object) -> str:
    return re.sub(r"\s+", "-", str(name or "").strip().lower())
