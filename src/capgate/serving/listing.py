"""Finds the model of a server that a target means.

The server's list of models decides. If the server has no list, one short chat request under the
target's name shows whether the server knows it.
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
"""Faults of a server that knows the model; the questions of the run will show their cause."""


def find_listed(target: Target, models: Sequence[ServedModel]) -> ServedModel | None:
    """The model of a list that a target names; None if no model matches.

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
            # A variant such as `:nitro` is another way to ask for a model; no list has it.
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
    """Asks a server that has no list of models whether it knows a target's names.

    Args:
        target: The target.
        base_url: The API's root.
        key: The API key, if there is one.
        limits: Of the requests.
        besides: A name that belongs to another model and is not asked.

    Returns:
        The first name that the server answers to; None if it knows none of them.

    Raises:
        RequestFault: The server is out of reach, refuses the key, or has no chat completions.
    """

    async def ask(name: str) -> bool:
        client = Client(
            base_url,
            target=target.id,
            model=name,
            key=key or "",
            limits=limits,
            max_tokens_field=target.max_tokens_field or "max_tokens",
            prompt_format=target.prompt_format,
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
