"""The names under which a server has models and adapters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from capgate.client.limits import ClientLimits
from capgate.client.replies import ServedModel
from capgate.common.errors import AdapterError, RequestFault
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.listing import ask_by_name, has_no_list

Listing = Callable[[], Sequence[ServedModel]]
"""Asks a server which models and adapters it has."""

_TAGGED: Final = re.compile(r"-[0-9a-f]{10}$")


def listed_models(listing: Listing) -> Sequence[ServedModel]:
    """The models that a server lists; an empty sequence if it has no list.

    Raises:
        RequestFault: The server gave no usable answer.
    """
    try:
        return listing()
    except RequestFault as fault:
        if has_no_list(fault):
            return []
        raise


def names_on(base: Endpoint, target: Target, listing: Listing) -> set[str]:
    """The names that a base's server lists or answers to, with those of adapters.

    Raises:
        RequestFault: The server gave no usable answer.
    """
    served = listed_models(listing)
    if served:
        return {model.name for model in served}
    name = answers_to(target, base)
    return set() if name is None else {name}


def answers_to(target: Target, base: Endpoint) -> str | None:
    """The name of an adapter to which a server without a list answers; None if to none."""
    limits = ClientLimits(connections=1, attempt_timeout=60.0, max_retries=1)
    return ask_by_name(target, base.base_url, base.key, limits=limits, besides=base.model)


def adapters_of(base: Endpoint, served: Sequence[ServedModel]) -> list[str]:
    """The adapters that a server lists for a base, under any of the base's names.

    If a list gives no model a parent (older vLLM, gateways), each model but the base may be one
    of its adapters. Then the proof that its answers differ from the base's decides.
    """
    roots = {model.name: model.root for model in served if not model.parent}
    root = roots.get(base.model)
    if len(roots) == len(served):
        # Older vLLM gives an adapter its base's name as root, so a root identifies no adapter.
        alias = root if root not in roots else None
        return sorted(
            name for name, other in roots.items() if name != base.model and (other or "") != alias
        )
    own = {name for name, other in roots.items() if root and other == root} | {base.model}
    return sorted(model.name for model in served if model.parent in own)


def loaded_as(name: str, base: Endpoint, served: Sequence[ServedModel]) -> str:
    """The served name of an adapter: `name`, or `name` with the hash of its content.

    Raises:
        AdapterError: The server has several adapters of that name.
    """
    adapters = adapters_of(base, served)
    if name in adapters:
        return name
    plain = name.rstrip("/").split("/")[-1]
    found = [one for one in adapters if _TAGGED.sub("", one) == plain and one != plain]
    if len(found) > 1:
        raise AdapterError(
            f"the server has {len(found)} adapters {plain}",
            target=base.target,
            said=", ".join(found),
            remedy="give the whole name",
        )
    return found[0] if found else name
