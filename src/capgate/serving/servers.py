"""The servers of one run: started once, checked once, ended with the run.

Lives in the run's controller. Workers reach it through `capgate.serving.broker`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from capgate.client import Client, ClientLimits
from capgate.config import Target
from capgate.errors import CapgateError, ConfigError, RequestFault
from capgate.replies import ServedModel
from capgate.routes import ROUTER
from capgate.serving import running, vllm
from capgate.serving.adapters import LoadedAdapter, attach
from capgate.serving.endpoint import Endpoint
from capgate.serving.liveness import check_live
from capgate.serving.loops import in_own_loop
from capgate.serving.managed import ManagedServer, start
from capgate.serving.managed import identity as managed_identity
from capgate.serving.openrouter import Offer, ask_offer

_CHECK_LIMITS = ClientLimits(
    connections=1, attempt_timeout=15.0, connect_timeout=5.0, max_retries=0
)


class Servers:
    """Finds or starts the server of each target, at most once in a run.

    Args:
        targets: Id to target, for every target of the run.
        environment: Where the keys' variables are looked up.
        logs: Folder for the logs of managed servers.
    """

    def __init__(
        self, targets: Mapping[str, Target], environment: Mapping[str, str], logs: Path
    ) -> None:
        self._targets = dict(targets)
        self._environment = environment
        self._logs = logs
        self._managed: dict[str, ManagedServer] = {}
        self._adapters: list[LoadedAdapter] = []
        self._results: dict[str, Endpoint | CapgateError] = {}
        self._locks = {target: threading.Lock() for target in targets}
        self._closed = False

    def endpoint(self, target_id: str) -> Endpoint:
        """The live endpoint of a target; the first call starts and checks it.

        Raises:
            CapgateError: It can't be had. Later calls raise the same at once.
        """
        with self._locks[target_id]:
            result = self._results.get(target_id)
            if result is None:
                try:
                    result = self._open(self._targets[target_id])
                except CapgateError as error:
                    result = error
                self._results[target_id] = result
        if isinstance(result, CapgateError):
            raise result
        return result

    def post_mortem(self, target_id: str) -> str:
        """Why a target's managed server has ended, in its own last words; `""` if it has not."""
        target = self._targets[target_id]
        server = self._managed.get(target.adapter_of or target_id)
        if server is None or server.alive:
            return ""
        return f"Its server has ended; the last lines of {server.log} are:\n{server.last_words()}"

    def close(self) -> None:
        """Releases the adapters and ends the managed servers."""
        self._closed = True
        for adapter in self._adapters:
            # A server that is gone has unloaded everything; the run's own faults matter more.
            with contextlib.suppress(CapgateError):
                adapter.release()
        self._adapters.clear()
        for server in self._managed.values():
            server.stop()
        self._managed.clear()

    def _open(self, target: Target) -> Endpoint:
        if self._closed:
            raise ConfigError("the run is over", target=target.id)
        if target.adapter_of is not None:
            return self._open_adapter(target, target.adapter_of)
        if target.serve is None:
            assert target.base_url is not None
            key = target.api_key(self._environment)
            served, version = _ask(target, target.base_url, key)
            identity = {"base_url": target.base_url, "root": served.root, "version": version}
            if target.provider == "openrouter":
                offer = _offer(target, target.base_url, key)
                identity |= {ROUTER: "openrouter", "model_version": offer.version}
                endpoint = _endpoint(target, target.base_url, key, served, identity)
                return replace(endpoint, offer=offer)
            return _endpoint(target, target.base_url, key, served, identity)
        left = running.find(target.id)
        if left is not None and left.identity == managed_identity(target):
            served, _ = _ask(target, left.base_url, left.key)
            return _endpoint(target, left.base_url, left.key, served, left.identity)
        server = start(target, self._logs)
        self._managed[target.id] = server
        served, _ = _ask(target, server.base_url, server.key)
        return _endpoint(target, server.base_url, server.key, served, server.identity)

    def _open_adapter(self, target: Target, base_id: str) -> Endpoint:
        base = self.endpoint(base_id)
        adapter = attach(target, base, list_models(base))
        self._adapters.append(adapter)
        check_live(base, adapter.endpoint)
        return adapter.endpoint


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
    return Endpoint(
        target=target.id,
        base_url=base_url,
        model=served.name,
        engine=engine_of(target, served),
        identity=identity,
        key=key,
        apart=str(identity.get("engine", "")).startswith(vllm.CPU_BUILD),
    )


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
    """What the server says of the target's model, and its own version.

    Raises:
        RequestFault: It is out of reach, or refuses the key.
        ConfigError: It serves other models.
    """
    models, version = _list(target.id, base_url, key)
    for model in models:
        if model.name == target.served_name:
            return model, version
        # A variant such as `:nitro` is a way to ask for a model and stands in no list.
        if target.provider == "openrouter" and target.served_name.startswith(f"{model.name}:"):
            return replace(model, name=target.served_name), version
    names = sorted(model.name for model in models)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise ConfigError(
        f"the server does not serve {target.served_name!r}",
        target=target.id,
        said=f"models: {shown or 'none'}",
        remedy="set model_name to a served name, or serve the model under that name",
    )


def _offer(target: Target, base_url: str, key: str | None) -> Offer:
    async def ask() -> Offer:
        client = Client(base_url, target=target.id, key=key or "", limits=_CHECK_LIMITS)
        async with client:
            return await ask_offer(client, target.served_name, target.route)

    return in_own_loop(ask)


def list_models(endpoint: Endpoint) -> list[ServedModel]:
    """The models and adapters that an endpoint's server lists.

    Raises:
        RequestFault: It is out of reach, or refuses the key.
    """
    return _list(endpoint.target, endpoint.base_url, endpoint.key)[0]


def _list(target: str, base_url: str, key: str | None) -> tuple[list[ServedModel], str]:
    """The models that a server lists, and its version.

    Raises:
        RequestFault: It is out of reach, or refuses the key.
    """

    async def ask() -> tuple[list[ServedModel], str]:
        client = Client(base_url, target=target, key=key or "", limits=_CHECK_LIMITS)
        async with client:
            models = await client.models()
            try:
                version = await client.version()
            except RequestFault:
                version = ""
        return models, version

    return in_own_loop(ask)
