"""The servers of one run: started once, checked once, ended with the run.

Lives in the run's controller. Workers reach it through `capgate.pytest_suite.broker`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import ServedModel
from capgate.common.errors import AdapterError, CapgateError, ConfigError, RequestFault, ServerError
from capgate.common.event_loop import in_own_loop
from capgate.common.files import told_of_files
from capgate.common.output import Output
from capgate.config.targets import Target
from capgate.serving import running_servers
from capgate.serving.adapters.attach import attach, unload_left_over
from capgate.serving.adapters.liveness import check_live
from capgate.serving.adapters.loaded import LoadedAdapter
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines import vllm
from capgate.serving.engines.managed import ManagedServer, start
from capgate.serving.engines.managed import identity as managed_identity
from capgate.serving.listing import ask_by_name, find_listed, has_no_list
from capgate.serving.observation import observe, process_start
from capgate.serving.openrouter import Offer, ask_offer
from capgate.serving.routes import ROUTER
from capgate.serving.sharing import asking, known_to_mix, note_mixing

_CHECK_LIMITS = ClientLimits(
    connections=1, attempt_timeout=15.0, connect_timeout=5.0, max_retries=0
)
_NAME_LIMITS = replace(_CHECK_LIMITS, attempt_timeout=60.0, max_retries=1)


class Servers:
    """Finds or starts the server of each target, at most once in a run.

    Args:
        targets: Id to target, for every target of the run.
        environment: Where the keys' variables are looked up.
        logs: Folder for the logs of managed servers.
        say: Shows a line to the user; by default on standard error.
        look: Whether the servers' weights are looked at, for runs that ask questions.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        environment: Mapping[str, str],
        logs: Path,
        *,
        say: Callable[[str], None] | None = None,
        look: bool = False,
    ) -> None:
        self._targets = dict(targets)
        self._environment = environment
        self._logs = logs
        self._say = say or Output().error
        self._look = look
        self._managed: dict[str, ManagedServer] = {}
        self._adapters: list[LoadedAdapter] = []
        self._results: dict[str, Endpoint | CapgateError] = {}
        self._locks = {target: threading.Lock() for target in targets}
        self._closed = False

    def endpoint(self, target_id: str) -> Endpoint:
        """The live endpoint of a target; the first call starts and checks it.

        A base and its adapters are had together: whether their server mixes them up must be
        known before any of them is asked.

        Raises:
            CapgateError: It can't be had. Later calls raise the same at once.
        """
        base_id = self._targets[target_id].adapter_of or target_id
        with self._locks[base_id]:
            if target_id not in self._results:
                self._results |= self._open_with_adapters(self._targets[base_id])
            result = self._results[target_id]
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
        if self._adapters:
            # At once, so that servers that hang are waited for only once.
            with ThreadPoolExecutor(len(self._adapters)) as pool:
                list(pool.map(self._release, self._adapters))
        self._adapters.clear()
        for server in self._managed.values():
            server.stop()
        self._managed.clear()

    def _release(self, adapter: LoadedAdapter) -> None:
        try:
            adapter.release()
        except CapgateError as error:
            # A server that is gone has unloaded everything.
            if not (isinstance(error, RequestFault) and error.kind == "refused"):
                at = adapter.endpoint
                self._say(f"The adapter {at.model} may still be loaded at {at.base_url}: {error}")

    def _open_with_adapters(self, base: Target) -> dict[str, Endpoint | CapgateError]:
        opened = _result(self._open, base)
        adapters = [one for one in self._targets.values() if one.adapter_of == base.id]
        if not isinstance(opened, Endpoint):
            return {one.id: opened for one in (base, *adapters)}
        if not (adapters or self._look):
            return {base.id: opened}
        alone = bool(adapters) and opened.engine == "vllm"
        with asking(opened.base_url, alone=alone, waiting=lambda: self._tell_waiting(opened)):
            return self._look_at(base, opened, adapters)

    def _look_at(
        self, base: Target, opened: Endpoint, adapters: Sequence[Target]
    ) -> dict[str, Endpoint | CapgateError]:
        """The endpoints of a base and its adapters, once what they answer has been looked at."""
        started = process_start(opened) if opened.engine == "vllm" else None
        if known_to_mix(opened.base_url, started):
            opened = replace(opened, apart=True)
        results: dict[str, Endpoint | CapgateError] = {
            base.id: _result(self._see, base, opened) if _to_be_seen(opened, adapters) else opened
        }
        seen = results[base.id]
        for target in adapters:
            results[target.id] = (
                _result(self._open_adapter, target, seen) if isinstance(seen, Endpoint) else seen
            )
        if self._look and opened.engine == "vllm":
            unload_left_over(opened, self._say)
        live = {name: one for name, one in results.items() if isinstance(one, Endpoint)}
        if any(endpoint.apart for endpoint in live.values()):
            if not opened.apart:
                note_mixing(opened.base_url, started)
            results |= {name: replace(endpoint, apart=True) for name, endpoint in live.items()}
        return results

    def _see(self, target: Target, endpoint: Endpoint) -> Endpoint:
        return replace(endpoint, observation=observe(target, endpoint))

    def _tell_waiting(self, endpoint: Endpoint) -> None:
        self._say(
            f"{endpoint.target}: waiting for another run that asks {endpoint.base_url} at this "
            "moment"
        )

    def _open(self, target: Target) -> Endpoint:
        if self._closed:
            raise _over(target)
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
        left = _left_running(target)
        if left is not None and left.identity == managed_identity(target):
            return _connect(target, left)
        server = start(target, self._logs, self._say)
        self._managed[target.id] = server
        if self._closed:
            server.stop()
            raise _over(target)
        return _connect(target, server)

    def _open_adapter(self, target: Target, base: Endpoint) -> Endpoint:
        adapter = attach(target, base, lambda: list_models(base), self._adapters.append)
        for note in adapter.endpoint.notes:
            self._say(f"{target.id}: {note}")
        if self._closed:
            self._release(adapter)
            # Where it was released before, the server may not have had it yet.
            with contextlib.suppress(CapgateError):
                adapter.unload()
            raise _over(target)
        # What is known to mix needs no proof of it.
        together = base.engine == "vllm" and not base.apart
        observation = base.observation
        try:
            proof = check_live(
                base,
                adapter.endpoint,
                seen=None if observation is None else observation.signature,
                together=together,
            )
        except AdapterError as error:
            error.remedy = ". ".join([error.remedy, *adapter.endpoint.notes])
            raise
        endpoint = replace(
            adapter.endpoint,
            # Nothing of another run has its random number.
            known=base.known or "adapter_nonce" in adapter.endpoint.identity,
            observation=None
            if observation is None
            else replace(observation, signature=proof.adapter),
        )
        if not proof.mixes:
            return endpoint
        self._say(
            f"{base.target}: its server applies {target.id} to the base as well when it answers "
            "both at once, so they are asked one after the other"
        )
        return replace(endpoint, apart=True)


def left_running(target: Target) -> Endpoint:
    """The endpoint of a server that `inference-server start` left running for a target.

    Raises:
        ServerError: There is none, or it runs with other settings than the target has.
        RequestFault: It is out of reach.
    """
    left = _left_running(target)
    if left is None:
        raise ServerError(
            "its server is not running",
            target=target.id,
            remedy=f"inference-server start {quote(target.id)}",
        )
    if left.identity != managed_identity(target):
        raise ServerError(
            "its server runs with other settings than its entry has now",
            target=target.id,
            remedy=f"inference-server stop {quote(target.id)}, then start it again",
        )
    return _connect(target, left)


def _left_running(target: Target) -> running_servers.Running | None:
    """This project's server of a target, or another project's that serves the very same."""
    mine = running_servers.find(target.id)
    if mine is not None:
        return mine
    others = [one for one in running_servers.all_running() if one.target == target.id]
    return next((one for one in others if one.identity == managed_identity(target)), None)


def _connect(target: Target, server: running_servers.Running | ManagedServer) -> Endpoint:
    served, _ = _ask(target, server.base_url, server.key)
    endpoint = _endpoint(target, server.base_url, server.key, served, server.identity)
    # Of a model on the hub, the name and no content.
    return replace(endpoint, known="@" not in str(server.identity.get("weights", "@")))


def _to_be_seen(endpoint: Endpoint, adapters: Sequence[Target]) -> bool:
    """Whether a look is needed at what a server answers.

    Behind OpenRouter each request may have another provider, so that a look would say nothing of
    the next one; there the model's version is what is known.
    """
    return endpoint.engine != "openrouter" and (bool(adapters) or not endpoint.known)


def _over(target: Target) -> ConfigError:
    return ConfigError("the run is over", target=target.id)


def _result(
    function: Callable[..., Endpoint], *arguments: Target | Endpoint
) -> Endpoint | CapgateError:
    try:
        with told_of_files():
            return function(*arguments)
    except CapgateError as error:
        return error


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
    version = str(identity.get("engine") or identity.get("version") or "")
    return Endpoint(
        target=target.id,
        base_url=base_url,
        model=served.name,
        engine=engine,
        identity=identity,
        key=key,
        apart=engine == "vllm" and vllm.is_cpu_build(version),
        max_tokens_field=target.max_tokens_field or "max_tokens",
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
        # No list, or nothing in it: whether the server knows the name, a question shows.
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
        RequestFault: It is out of reach, refuses the key, or has no list (`has_no_list`).
    """
    return _list(endpoint.target, endpoint.base_url, endpoint.key)[0]


def _limits_of(target: Target) -> ClientLimits:
    """A passing fault of OpenRouter's lists must not cost a run."""
    retries = target.max_retries if target.provider == "openrouter" else 0
    return replace(_CHECK_LIMITS, max_retries=retries)


def _list(
    target: str, base_url: str, key: str | None, limits: ClientLimits = _CHECK_LIMITS
) -> tuple[list[ServedModel], str]:
    """The models that a server lists, and its version.

    Raises:
        RequestFault: It is out of reach, or refuses the key.
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
