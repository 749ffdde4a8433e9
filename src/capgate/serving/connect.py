"""Connects to a target's server: checks that it serves the target, and makes its endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Any

from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import ServedModel
from capgate.common.errors import ConfigError, RequestFault, ServerError
from capgate.common.event_loop import in_own_loop
from capgate.config.targets import Target
from capgate.serving import running_servers
from capgate.serving.addresses import Address, started_at
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines import vllm
from capgate.serving.engines.managed import identity as managed_identity
from capgate.serving.listing import ask_by_name, find_listed, has_no_list
from capgate.serving.openrouter import Offer, ask_offer
from capgate.serving.routes import ROUTER

_CHECK_LIMITS = ClientLimits(
    connections=1, attempt_timeout=15.0, connect_timeout=5.0, max_retries=0
)
_NAME_LIMITS = replace(_CHECK_LIMITS, attempt_timeout=60.0, max_retries=1)


def connect(target: Target, address: Address) -> Endpoint:
    """Connects to one of a target's servers.

    Args:
        target: The target.
        address: Where the server answers.

    Raises:
        CapgateError: The server is out of reach, refuses the key or does not serve the target.
    """
    base_url, key = address.base_url, address.key
    served, version = _ask(target, base_url, key)
    if address.identity is not None:
        endpoint = _endpoint(target, base_url, key, served, address.identity)
        # A model on the hub is known by its name and revision, not by its content.
        known = "@" not in str(address.identity.get("weights", "@"))
        return replace(endpoint, known=known, place=address.place)
    identity = {"base_url": base_url, "root": served.root, "version": version}
    if target.provider != "openrouter":
        endpoint = _endpoint(target, base_url, key, served, identity)
        return replace(endpoint, place=address.place)
    offer = _offer(target, base_url, key)
    identity |= {ROUTER: "openrouter", "model_version": offer.version}
    return replace(_endpoint(target, base_url, key, served, identity), offer=offer)


def left_running(target: Target) -> Sequence[Endpoint]:
    """The endpoints of the servers that `inference-server start` left running for a target.

    Raises:
        ServerError: One does not run, or they run with other settings than the target has.
        RequestFault: One is out of reach.
    """
    left = find_left_running(target)
    if len(left) < max(1, target.replicas):
        raise ServerError(
            f"{len(left)} of its {target.replicas} servers are running"
            if left
            else "its server is not running",
            target=target.id,
            remedy=f"inference-server start {quote(target.id)}",
        )
    if any(one.identity != managed_identity(target) for one in left):
        raise ServerError(
            "its server runs with other settings than its entry has now",
            target=target.id,
            remedy=f"inference-server stop {quote(target.id)}, then start it again",
        )
    return [connect(target, address) for address in started_at(left)]


def find_left_running(target: Target) -> Sequence[running_servers.Running]:
    """This project's servers of a target, or another project's with the same identity."""
    mine = running_servers.find(target.id)
    if mine:
        return mine
    others = [one for one in running_servers.all_running() if one.target == target.id]
    same = [one for one in others if one.identity == managed_identity(target)]
    return [one for one in same if one.project == same[0].project]


def _endpoint(
    target: Target,
    base_url: str,
    key: str | None,
    served: ServedModel,
    identity: Mapping[str, Any],
) -> Endpoint:
    if served.context is not None and served.context < target.context_window:
        raise ConfigError(
            f"it serves a context of {served.context} tokens, less than the configured "
            f"context_window of {target.context_window}",
            target=target.id,
            remedy=f"set context_window: {served.context}, or start the server with a larger one",
        )
    engine = engine_of(target, served)
    found = Endpoint(
        target=target.id,
        base_url=base_url,
        model=served.name,
        engine=engine,
        identity=identity,
        key=key,
        max_tokens_field=target.max_tokens_field or "max_tokens",
        prompt_format=target.prompt_format,
    )
    return replace(found, apart=engine == "vllm" and vllm.is_cpu_build(found.version))


def engine_of(target: Target, served: ServedModel) -> str:
    """Which server software answers: `vllm`, `llamacpp`, `openrouter` or `""` if unknown."""
    if target.serve is not None:
        return target.serve.engine
    if target.provider == "openrouter":
        return "openrouter"
    if served.owner in {"vllm", "llamacpp"}:
        return served.owner
    return target.model_type if target.model_type in {"vllm", "llamacpp"} else ""


def _ask(target: Target, base_url: str, key: str | None) -> tuple[ServedModel, str]:
    """The server's entry of the target's model, and the server's version.

    Raises:
        RequestFault: The server is out of reach, or refuses the key.
        ConfigError: The server does not serve the model.
    """
    try:
        models, version = _list(target.id, base_url, key, _limits_of(target))
    except RequestFault as fault:
        if not has_no_list(fault):
            raise
        models, version = [], ""
    found = find_listed(target, models)
    if found is not None:
        return found, version
    if not models:
        # The server lists no models. A question shows whether it knows the name.
        name = ask_by_name(target, base_url, key, limits=_NAME_LIMITS)
        if name is not None:
            return ServedModel(name), version
    names = sorted(model.name for model in models)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise ConfigError(
        f"the server does not serve {' or '.join(map(repr, reversed(target.names)))}",
        target=target.id,
        said=f"models: {shown or 'none'}",
        remedy="set model_name to a served name, or serve the model under that name",
    )


def _offer(target: Target, base_url: str, key: str | None) -> Offer:
    async def ask() -> Offer:
        client = Client(base_url, target=target.id, key=key or "", limits=_limits_of(target))
        async with client:
            return await ask_offer(client, target.served_name, target.route)

    return in_own_loop(ask)


def list_models(endpoint: Endpoint) -> list[ServedModel]:
    """The models and adapters that an endpoint's server lists.

    Raises:
        RequestFault: The server is out of reach, refuses the key, or has no list (`has_no_list`).
    """
    return _list(endpoint.target, endpoint.base_url, endpoint.key)[0]


def _limits_of(target: Target) -> ClientLimits:
    """Limits that retry requests for OpenRouter's lists, so that a short fault ends no run."""
    retries = target.max_retries if target.provider == "openrouter" else 0
    return replace(_CHECK_LIMITS, max_retries=retries)


def _list(
    target: str, base_url: str, key: str | None, limits: ClientLimits = _CHECK_LIMITS
) -> tuple[list[ServedModel], str]:
    """The models that a server lists, and its version.

    Raises:
        RequestFault: The server is out of reach, or refuses the key.
    """

    async def ask() -> tuple[list[ServedModel], str]:
        client = Client(base_url, target=target, key=key or "", limits=limits)
        async with client:
            models = await client.models()
            try:
                version = await client.version()
            except RequestFault:
                version = ""
        return models, version

    return in_own_loop(ask)
