"""The servers of one run: each is started once, checked once, and ended with the run.

The run's controller owns them. Workers reach them through `capgate.pytest_suite.broker`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from capgate.common.errors import AdapterError, CapgateError, ConfigError, RequestFault
from capgate.common.files import told_of_files
from capgate.common.output import Output
from capgate.config.targets import Target
from capgate.serving.adapters.attach import attach
from capgate.serving.adapters.liveness import check_live
from capgate.serving.adapters.loaded import LoadedAdapter, unload_left_over
from capgate.serving.adapters.shared_leases import SharedLeases
from capgate.serving.addresses import (
    Address,
    StartedServer,
    Starter,
    now_at,
    running_at,
    started_at,
)
from capgate.serving.cluster.ray_cluster import RayCluster
from capgate.serving.connect import connect, find_left_running, list_models
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines.managed import identity as managed_identity
from capgate.serving.engines.start_replicas import start_replicas
from capgate.serving.observation import observe, process_start
from capgate.serving.replicas import Opened, as_before, together, with_another
from capgate.serving.returning import Returning
from capgate.serving.sharing import asking, known_to_mix, note_mixing


class Servers:
    """Finds or starts the server of each target, at most once in a run.

    Args:
        targets: Id to target, for every target of the run.
        environment: Where the keys' variables are looked up.
        logs: Folder for the logs of managed servers.
        say: Shows a line to the user; by default on standard error.
        observe_weights: Whether to observe the weights, which runs that ask questions need.
        one_by_one: Whether an adapter is loaded when its own endpoint is asked for, and not with
            its base: a sweep has more of them than a server holds at a time (`release`).
        ray: Where the Ray cluster is that runs the servers; None for this machine.
        leases: The leases of adapters that all machines share, where something keeps them; they are
            given back with the adapters.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        environment: Mapping[str, str],
        logs: Path,
        *,
        say: Callable[[str], None] | None = None,
        observe_weights: bool = False,
        one_by_one: bool = False,
        ray: str | None = None,
        leases: SharedLeases | None = None,
    ) -> None:
        self._targets = dict(targets)
        self._environment = environment
        self._logs = logs
        self._say = say or Output().error
        self._observe_weights = observe_weights
        self._one_by_one = one_by_one
        self._cluster = None if ray is None else RayCluster(ray, targets.values())
        self._start: Starter = start_replicas if self._cluster is None else self._cluster.start
        self._leases = leases
        self._managed: dict[str, Sequence[StartedServer]] = {}
        self._addresses: dict[str, Sequence[Address]] = {}
        self._adapters: list[LoadedAdapter] = []
        self._results: dict[str, Endpoint | CapgateError] = {}
        self._unmixed: set[str] = set()
        self._locks = {target: threading.Lock() for target in targets}
        self._returning = Returning(self._prove_again)
        self._closed = False

    def endpoint(self, target_id: str) -> Endpoint:
        """The live endpoint of a target; the first call starts and checks it.

        A base and its adapters are opened together, unless they are to be opened one by one:
        before any of them is asked, capgate must know whether their server mixes them up.

        Raises:
            CapgateError: The target has no live endpoint. Later calls raise the same at once.
        """
        base_id = self._targets[target_id].adapter_of or target_id
        result = self._results.get(target_id)
        if result is None:
            with self._locks[base_id]:
                if target_id not in self._results:
                    self._results |= self._opened(target_id, self._targets[base_id])
                result = self._results[target_id]
        if isinstance(result, CapgateError):
            raise result
        return result

    def release(self, target_id: str) -> None:
        """Unloads an adapter that is asked no more; a later call for its endpoint loads it anew.

        One that the run did not load, or that another run uses, stays on the server. This does not
        wait for another adapter that is being loaded.
        """
        self._results.pop(target_id, None)
        for adapter in [one for one in self._adapters if one.endpoint.target == target_id]:
            self._adapters.remove(adapter)
            self._release(adapter)

    def readmit(self, target_id: str, base_url: str, since: float) -> Endpoint | None:
        """The endpoint of a target on a server that stopped answering, once it is proven again.

        It has to serve the same model with the same adapters and weights as the target's other
        endpoints did when the run began.

        Args:
            target_id: The target's id.
            base_url: The server's URL.
            since: When it stopped answering, Unix seconds.

        Returns:
            None while that is not known.

        Raises:
            CapgateError: The server is not there, or serves something else.
        """
        base_id = self._targets[target_id].adapter_of or target_id
        return self._returning.endpoint(base_id, target_id, base_url, since)

    def post_mortem(self, target_id: str) -> str:
        """Why a target's managed servers have ended, in their own last words.

        Returns:
            `""` while one of them runs.
        """
        servers = self._managed.get(self._targets[target_id].adapter_of or target_id, ())
        if not servers or any(server.alive for server in servers):
            return ""
        return "\n".join(
            f"Its server has ended; the last lines of {one.log} are:\n{one.last_words()}"
            for one in servers
        )

    def close(self) -> None:
        """Releases the adapters and ends the managed servers."""
        self._closed = True
        if self._adapters:
            # All at the same time, so that several servers that hang cost one time-out.
            with ThreadPoolExecutor(len(self._adapters)) as pool:
                list(pool.map(self._release, self._adapters))
        self._adapters.clear()
        if self._leases is not None:
            self._leases.close()
        _stop([server for servers in self._managed.values() for server in servers])
        self._managed.clear()
        if self._cluster is not None:
            self._cluster.close()

    def _release(self, adapter: LoadedAdapter) -> None:
        try:
            adapter.release()
        except CapgateError as error:
            # A server that has ended has unloaded its adapters.
            if not (isinstance(error, RequestFault) and error.kind == "refused"):
                at = adapter.endpoint
                self._say(f"The adapter {at.model} may still be loaded at {at.base_url}: {error}")

    def _opened(self, target_id: str, base: Target) -> Opened:
        if not self._one_by_one:
            return self._open_with_adapters(base, self._adapters_of(base))
        mine = [one for one in self._adapters_of(base) if one.id == target_id]
        known = self._results.get(base.id)
        if not mine or known is None:
            return self._open_with_adapters(base, mine)
        if not isinstance(known, Endpoint):
            return {target_id: known}
        if not known.place:
            return self._attach_later(base, known, mine)
        at = [Address(one.base_url, one.key, one.place) for one in known.all]
        with ThreadPoolExecutor(len(at)) as pool:
            opened = list(pool.map(lambda one: self._attach_later(base, one, mine), known.all))
        found = together([base.id, target_id], at, opened)
        return {target_id: found[target_id], base.id: _as_apart_as(known, found[base.id])}

    def _attach_later(self, base: Target, known: Endpoint, mine: Sequence[Target]) -> Opened:
        """Attaches an adapter to one server of a base that is asked already."""
        # Once an adapter was proven beside the base, others are loaded while the server is asked.
        alone = known.engine == "vllm" and known.base_url not in self._unmixed
        started = None if known.observation is None else known.observation.started
        with asking(known.base_url, alone=alone, waiting=lambda: self._tell_waiting(known)):
            return self._attach_to(base, known, known, mine, started=started)

    def _adapters_of(self, base: Target) -> list[Target]:
        return [one for one in self._targets.values() if one.adapter_of == base.id]

    def _open_with_adapters(self, base: Target, adapters: Sequence[Target]) -> Opened:
        ids = [one.id for one in (base, *adapters)]
        try:
            with told_of_files():
                addresses = self._addresses[base.id] = self._find(base)
        except CapgateError as fault:
            return dict.fromkeys(ids, fault)
        if len(addresses) == 1:
            return self._open_at(base, addresses[0], adapters)
        with ThreadPoolExecutor(len(addresses)) as pool:
            opened = list(pool.map(lambda at: self._open_at(base, at, adapters), addresses))
        results = together(ids, addresses, opened)
        for place in _left_out(results.values()):
            self._say(f"{base.id}: {place} does not answer, so the other endpoints are asked")
        return results

    def _prove_again(self, base_id: str, base_url: str) -> Opened:
        """Opens one server of a base, which must serve what the base's other servers do."""
        known = dict(self._results)
        base = self._targets[base_id]
        address = now_at(self._addresses[base_id], self._managed.get(base_id, ()), base_url)
        adapters = [one for one in self._adapters_of(base) if one.id in known]
        opened = _endpoint_or_fault(connect, base, address)
        if not isinstance(opened, Endpoint):
            return {one.id: opened for one in (base, *adapters)}
        # Whoever asks the base's other servers holds the right to ask this one.
        found = self._observe_all(base, opened, adapters)
        proven = {name: as_before(one, known.get(name)) for name, one in found.items()}
        now, then = proven[base_id], self._results.get(base_id)
        if isinstance(now, Endpoint) and isinstance(then, Endpoint):
            # Adapters that are asked for later are loaded there as well.
            self._results[base_id] = with_another(then, now)
        return proven

    def _open_at(self, base: Target, address: Address, adapters: Sequence[Target]) -> Opened:
        """The endpoints of a base and of its adapters on one server."""
        opened = _endpoint_or_fault(connect, base, address)
        if not isinstance(opened, Endpoint):
            return {one.id: opened for one in (base, *adapters)}
        if not (adapters or self._observe_weights):
            return {base.id: opened}
        alone = bool(adapters) and opened.engine == "vllm"
        with asking(opened.base_url, alone=alone, waiting=lambda: self._tell_waiting(opened)):
            return self._observe_all(base, opened, adapters)

    def _observe_all(self, base: Target, opened: Endpoint, adapters: Sequence[Target]) -> Opened:
        """Observes a base and attaches its adapters; returns their endpoints by target.

        The caller holds the right to ask the server.
        """
        started = process_start(opened) if opened.engine == "vllm" else None
        if known_to_mix(opened.base_url, started):
            opened = replace(opened, apart=True)
        observed: Endpoint | CapgateError = opened
        if opened.place or _needs_observation(opened, self._adapters_of(base)):
            observed = _endpoint_or_fault(self._observe, base, opened)
        results = self._attach_to(base, opened, observed, adapters, started=started)
        if self._observe_weights and opened.engine == "vllm":
            unload_left_over(opened, self._say, self._leases)
        return results

    def _attach_to(
        self,
        base: Target,
        opened: Endpoint,
        observed: Endpoint | CapgateError,
        adapters: Sequence[Target],
        *,
        started: float | None,
    ) -> Opened:
        """Attaches adapters to an observed base; returns the endpoints of all by target."""
        results: dict[str, Endpoint | CapgateError] = {base.id: observed}
        for target in adapters:
            results[target.id] = (
                _endpoint_or_fault(self._open_adapter, target, observed)
                if isinstance(observed, Endpoint)
                else observed
            )
        live = {name: one for name, one in results.items() if isinstance(one, Endpoint)}
        if any(endpoint.apart for endpoint in live.values()):
            if not opened.apart:
                note_mixing(opened.base_url, started)
            results |= {name: replace(endpoint, apart=True) for name, endpoint in live.items()}
        return results

    def _observe(self, target: Target, endpoint: Endpoint) -> Endpoint:
        return replace(endpoint, observation=observe(target, endpoint))

    def _tell_waiting(self, endpoint: Endpoint) -> None:
        self._say(
            f"{endpoint.target}: waiting for another run that asks {endpoint.base_url} at this "
            "moment"
        )

    def _find(self, target: Target) -> Sequence[Address]:
        """Where a target's servers answer; those that do not run yet are started."""
        if self._closed:
            raise _over(target)
        if target.serve is None:
            return running_at(target.urls, target.api_key(self._environment))
        left = find_left_running(target) if self._cluster is None else ()
        if left and all(one.identity == managed_identity(target) for one in left):
            return started_at(left)
        servers = self._managed[target.id] = self._start(target, self._logs, self._say)
        if self._closed:
            _stop(servers)
            raise _over(target)
        return started_at(servers)

    def _open_adapter(self, target: Target, base: Endpoint) -> Endpoint:
        adapter = attach(
            target, base, lambda: list_models(base), self._adapters.append, self._leases
        )
        for note in adapter.endpoint.notes:
            self._say(f"{target.id}: {note}")
        if self._closed:
            self._release(adapter)
            # If `close` released it already, the server may not have loaded it at that time.
            with contextlib.suppress(CapgateError):
                adapter.unload()
            raise _over(target)
        # A server that is known to mix models up needs no proof of that.
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
            # No answer of another run was stored under this run's random number.
            known=base.known or "adapter_nonce" in adapter.endpoint.identity,
            observation=None
            if observation is None
            else replace(observation, signature=proof.adapter),
        )
        if not proof.mixes:
            if together:
                self._unmixed.add(base.base_url)
            return endpoint
        self._say(
            f"{base.target}: its server applies {target.id} to the base as well when it answers "
            "both at once, so they are asked one after the other"
        )
        return replace(endpoint, apart=True)


def _needs_observation(endpoint: Endpoint, adapters: Sequence[Target]) -> bool:
    """Whether a server's weights must be observed.

    OpenRouter may send each request to another provider, so an observation says nothing about
    the next request. There the model's version identifies the weights.
    """
    return endpoint.engine != "openrouter" and (bool(adapters) or not endpoint.known)


def _as_apart_as(known: Endpoint, found: Endpoint | CapgateError) -> Endpoint:
    """A base's endpoints, which are asked apart from now on where one was found to mix models."""
    if known.apart or not isinstance(found, Endpoint) or not found.apart:
        return known
    others = tuple(replace(one, apart=True) for one in known.others)
    return replace(known, apart=True, others=others)


def _stop(servers: Sequence[StartedServer]) -> None:
    """Ends servers, all at the same time."""
    if servers:
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(lambda server: server.stop(), servers))


def _left_out(results: Iterable[Endpoint | CapgateError]) -> list[str]:
    """The places of the endpoints that are left out, each once."""
    live = [one for one in results if isinstance(one, Endpoint)]
    return list(dict.fromkeys(address.place for one in live for address in one.absent))


def _over(target: Target) -> ConfigError:
    return ConfigError("the run is over", target=target.id)


def _endpoint_or_fault(
    function: Callable[..., Endpoint], *arguments: Target | Endpoint | Address
) -> Endpoint | CapgateError:
    try:
        with told_of_files():
            return function(*arguments)
    except CapgateError as error:
        return error
