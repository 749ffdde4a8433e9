"""Which of a server's models a target means, and what to do where the server has no list.

A name is a hint. What the server lists decides; where it lists nothing, one short chat request
under the name does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import ServedModel
from capgate.common.errors import RequestFault
from capgate.common.event_loop import in_own_loop
from capgate.config.targets import Target

_NO_ROUTE: Final = frozenset({404, 405, 501})
_REQUEST: Final[Mapping[str, Any]] = {
    "messages": [{"role": "user", "content": "Answer with one letter: A, B, C or D."}],
    "max_tokens": 16,
}
_UNKNOWN: Final = frozenset({"model_not_found"})
_ANSWERED: Final = frozenset({"bad_request", "context_too_long", "moderation", "empty_choices"})
"""Faults of a server that knows the model: what they are about, the real questions show."""


def find_listed(target: Target, models: Sequence[ServedModel]) -> ServedModel | None:
    """The model of a list that a target names; None where there is none.

    An exact name wins, then the name without its provider's prefix, then the ways in which
    known servers list a model under another name than they answer to.

    Args:
        target: The target.
        models: What its server lists.
    """
    listed = {model.name: model for model in models}
    for name in target.names:
        if name in listed:
            return listed[name]
    for name in target.names:
        # Ollama lists the default tag, Gemini the resource's path.
        for other in (f"{name}:latest", f"models/{name}"):
            if other in listed:
                return listed[other]
    for name in target.names:
        for model in models:
            # A variant such as `:nitro` is a way to ask for a model and stands in no list.
            variant = target.provider == "openrouter" and name.startswith(f"{model.name}:")
            # LiteLLM lists a rule for many models as `openai/*`.
            rule = model.name.endswith("*") and name.startswith(model.name[:-1])
            if variant or rule:
                return replace(model, name=name)
    return None


def has_no_list(fault: RequestFault) -> bool:
    """Whether a fault of `GET /v1/models` leaves open whether the server answers questions.

    Some servers have no such route, and some keys may ask a model and not list models.
    """
    scoped = fault.status == 401 and "scope" in fault.said.lower()
    return fault.status in _NO_ROUTE or fault.kind == "forbidden" or scoped


def ask_by_name(
    target: Target,
    base_url: str,
    key: str | None,
    *,
    limits: ClientLimits,
    besides: str = "",
) -> str | None:
    """Asks a server without a list of models for a target's under its names.

    Args:
        target: The target.
        base_url: The API's root.
        key: The API key, where there is one.
        limits: Times and counts.
        besides: A name that is another model's.

    Returns:
        The first name that the server answers to; None where it knows none of them.

    Raises:
        RequestFault: It is out of reach, refuses the key, or has no chat completions.
    """

    async def ask(name: str) -> bool:
        client = Client(
            base_url,
            target=target.id,
            model=name,
            key=key or "",
            limits=limits,
            max_tokens_field=target.max_tokens_field or "max_tokens",
        )
        async with client:
            try:
                await client.complete({"model": name, **_REQUEST})
            except RequestFault as fault:
                if fault.kind not in _ANSWERED | _UNKNOWN:
                    raise
                return fault.kind in _ANSWERED
        return True

    async def first() -> str | None:
        for name in target.names:
            if name != besides and await ask(name):
                return name
        return None

    return in_own_loop(first)
