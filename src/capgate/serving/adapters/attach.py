"""Finds a LoRA adapter on its base's server, or loads it there.

The served name of an adapter that capgate loads carries a hash of its content. So neither
vLLM's prefix cache nor capgate's store confuses two adapters of one name. If capgate cannot read
the content, the identity carries a random number instead, and each run asks everything anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from capgate.client.replies import ServedModel
from capgate.common.errors import AdapterError
from capgate.config.targets import Target
from capgate.serving.adapters import tensor_shapes
from capgate.serving.adapters.leases import Lease
from capgate.serving.adapters.loaded import LoadedAdapter
from capgate.serving.adapters.lora_requests import load
from capgate.serving.adapters.namesakes import beside_its_folder, readable_folder
from capgate.serving.adapters.refusals import AlreadyLoadedError
from capgate.serving.adapters.served_names import (
    Listing,
    adapters_of,
    answers_to,
    listed_models,
)
from capgate.serving.adapters.shared_leases import SharedLeases
from capgate.serving.adapters.sources import (
    AdapterFolder,
    Source,
    find_folder,
    find_source,
    is_hub_id,
    new_nonce,
)
from capgate.serving.endpoint import Endpoint


def attach(
    target: Target,
    base: Endpoint,
    listing: Listing,
    keep: Callable[[LoadedAdapter], None],
    leases: SharedLeases | None = None,
) -> LoadedAdapter:
    """Finds an adapter on its base's server, or loads it there.

    Args:
        target: The adapter's target.
        base: Its base's live endpoint.
        listing: Asks the server what it lists.
        keep: Called with an adapter before it is loaded, so that it is released in any case:
            after an interrupt or a fault the server may still load it.
        leases: The leases of all machines, where something keeps them.

    Raises:
        AdapterError: The adapter does not exist, is not readable, does not fit its base's shape,
            or the server refuses it.
        RequestFault: The server gave no usable answer.
    """
    served = listed_models(listing)
    on_server = adapters_of(base, served)
    if target.path is None:
        name = next((one for one in target.names if one in on_server), None)
        if name is None and not served:
            name = answers_to(target, base)
        if name is not None:
            found = _found(target, base, name, served)
            if "adapter_digest" in found.identity:
                return LoadedAdapter(found, None)
            judged = beside_its_folder(
                target,
                found,
                str(found.identity["adapter_root"]),
                lambda source: _load(target, base, source, listing, keep, (), leases),
            )
            return LoadedAdapter(judged, None) if isinstance(judged, Endpoint) else judged
        parents = {model.name: model.parent for model in served}
        name = next((one for one in target.names if one in parents), None)
        if name is not None:
            raise _elsewhere(target, name, parents[name])
    name = next((one for one in target.names if find_folder(one)), target.served_name or target.id)
    source = find_source(name, target.path, target.revision, target=target.id, on_server=on_server)
    notes: list[str] = []
    if source.folder is not None:
        notes += _other_base(source.folder, base, served)
        _check_shapes(target, source.folder, base, served)
    return _load(target, base, source, listing, keep, notes, leases)


def _found(target: Target, base: Endpoint, name: str, served: Sequence[ServedModel]) -> Endpoint:
    """The endpoint of an adapter that somebody else loaded.

    Its name and root may stand for any content, so only a readable folder identifies it.
    """
    entry = next((model for model in served if model.name == name), ServedModel(name))
    root = entry.root
    identity = {**base.identity, "adapter": name, "adapter_root": root}
    folder = readable_folder(Path(root) if root else None, target.id)
    if folder is not None and folder.names_itself(name):
        return _endpoint(target, base, name, {**identity, "adapter_digest": folder.digest})
    nonce = new_nonce()
    endpoint = _endpoint(target, base, name, {**identity, "adapter_nonce": nonce})
    if not entry.parent:
        note = (
            f"the server does not say which model {name} is an adapter of; only its answers show "
            f"that it is not {base.model}"
        )
        endpoint = replace(endpoint, notes=(note,))
    # vLLM's prefix cache identifies an adapter by name and path.
    return replace(endpoint, salt=nonce) if base.engine == "vllm" else endpoint


def _load(
    target: Target,
    base: Endpoint,
    source: Source,
    listing: Listing,
    keep: Callable[[LoadedAdapter], None],
    notes: Sequence[str],
    leases: SharedLeases | None,
) -> LoadedAdapter:
    name = source.served_name(target.served_name or target.id)
    lease = Lease(base.base_url, name, leases)
    endpoint = _endpoint(target, base, name, {**base.identity, **source.facts})
    adapter = LoadedAdapter(replace(endpoint, notes=tuple(notes)), lease)
    keep(adapter)
    if name not in adapters_of(base, listed_models(listing)):
        lease.claim()
        try:
            path = load(base, source, target=target.id, name=name)
        except AlreadyLoadedError:
            # Another machine loaded it after `listing` was called, so that one unloads it.
            lease.disclaim()
        except AdapterError:
            lease.disclaim()
            raise
        else:
            if path != source.path:
                identity = {**adapter.endpoint.identity, "adapter_nonce": new_nonce()}
                adapter.endpoint = replace(adapter.endpoint, identity=identity)
    lease.settle()
    return adapter


def _endpoint(target: Target, base: Endpoint, name: str, identity: dict[str, Any]) -> Endpoint:
    return Endpoint(
        target=target.id,
        base_url=base.base_url,
        model=name,
        engine=base.engine,
        identity=identity,
        key=base.key,
        apart=base.apart,
        place=base.place,
        max_tokens_field=target.max_tokens_field or base.max_tokens_field,
        prompt_format=base.prompt_format,
    )


def _other_base(
    adapter: AdapterFolder, base: Endpoint, served: Sequence[ServedModel]
) -> Iterator[str]:
    """A note if the adapter's configuration names another base than the served one.

    One model has many names: quantized copies, other owners, folders of the training machine.
    """
    root = next((model.root for model in served if model.name == base.model), "")
    made_for = adapter.base
    if is_hub_id(made_for) and is_hub_id(root) and made_for.lower() != root.lower():
        yield (
            f"its adapter_config.json names the base {made_for}, and the server serves {root}; "
            "these may be two names of one model, so its shapes and its answers decide"
        )


def _check_shapes(
    target: Target, adapter: AdapterFolder, base: Endpoint, served: Sequence[ServedModel]
) -> None:
    """Refuses an adapter whose tensors do not fit the served model, if both are readable.

    vLLM accepts such adapters and applies only the tensors that fit, or none.
    """
    root = next((model.root for model in served if model.name == base.model), "")
    model = tensor_shapes.of_model(root)
    own = tensor_shapes.of_adapter(adapter.path, target.id)
    if model is None or own is None or tensor_shapes.fit(own, model):
        return
    raise AdapterError(
        f"the adapter was made for another base: {own}, but the served model has {model}",
        target=target.id,
        remedy="judge it with --model-id of a target that serves its own base",
    )


def _elsewhere(target: Target, name: str, parent: str) -> AdapterError:
    return AdapterError(
        f"the server serves {name!r}, but as an adapter of {parent or 'nothing: a base model'}",
        target=target.id,
        remedy="name the base that it belongs to with --model-id",
    )
