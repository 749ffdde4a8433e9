"""LoRA adapters on vLLM: found on the server or loaded onto it, and unloaded afterwards.

A loaded adapter's served name carries a hash of its content, so that neither vLLM's prefix
cache nor our store can take one adapter's answers for another's of the same name. Where the
content can't be known, a random number of the run stands for it: its answers are asked anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, Final

from capgate.client.limits import ClientLimits
from capgate.client.replies import ServedModel
from capgate.common.errors import AdapterError, RequestFault
from capgate.config.targets import Target
from capgate.serving.adapters import tensor_shapes
from capgate.serving.adapters.leases import Lease, end_left_over
from capgate.serving.adapters.loaded import LoadedAdapter, ask_unload, not_unloaded, post
from capgate.serving.adapters.namesakes import beside_its_folder, readable_folder
from capgate.serving.adapters.refusals import (
    AlreadyLoadedError,
    NoSuchPathError,
    cannot_serve,
    refusal,
)
from capgate.serving.adapters.sources import (
    AdapterFolder,
    Source,
    find_folder,
    find_source,
    is_hub_id,
    new_nonce,
)
from capgate.serving.endpoint import Endpoint
from capgate.serving.listing import ask_by_name, has_no_list

_LOAD_SECONDS: Final = 300.0
_TAGGED: Final = re.compile(r"-[0-9a-f]{10}$")

Listing = Callable[[], Sequence[ServedModel]]
"""Asks a server what it lists."""


def attach(
    target: Target, base: Endpoint, listing: Listing, keep: Callable[[LoadedAdapter], None]
) -> LoadedAdapter:
    """Finds an adapter on its base's server, or loads it there.

    Args:
        target: The adapter's target.
        base: Its base's live endpoint.
        listing: Asks the server what it lists.
        keep: Takes an adapter that must be released, before it is loaded: whatever ends the
            loading, the server may go on with it.

    Raises:
        AdapterError: It is nowhere, can't be read, does not fit its base's shape, or the server
            refuses it.
        RequestFault: The server gave no usable answer.
    """
    served = _listed(listing)
    on_server = _adapters_of(base, served)
    if target.path is None:
        name = next((one for one in target.names if one in on_server), None)
        if name is None and not served:
            name = _answers_to(target, base)
        if name is not None:
            found = _found(target, base, name, served)
            if "adapter_digest" in found.identity:
                return LoadedAdapter(found, None)
            judged = beside_its_folder(
                target,
                found,
                str(found.identity["adapter_root"]),
                lambda source: _load(target, base, source, listing, keep, ()),
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
    return _load(target, base, source, listing, keep, notes)


def load(base: Endpoint, source: Source, *, target: str, name: str) -> str:
    """Has the server load an adapter.

    Returns:
        What it loaded: the source's path, or its hub id.

    Raises:
        AdapterError: It refuses, with its words and the remedy; or vLLM can't serve such a one.
        RequestFault: It gave no usable answer.
    """
    if base.engine == "vllm" and source.folder is not None and source.folder.not_served:
        raise cannot_serve(target, source.path, source.folder.not_served)
    try:
        _ask_load(base, source.path, target=target, name=name)
    except NoSuchPathError:
        if source.hub_id is None:
            raise
    else:
        return source.path
    # A server on another machine gets it from the hub by itself.
    _ask_load(base, source.hub_id, target=target, name=name)
    return source.hub_id


def unload(endpoint: Endpoint, name: str) -> None:
    """Has the server unload an adapter.

    Raises:
        AdapterError: It has none of that name.
        RequestFault: It gave no usable answer.
    """
    status, said = ask_unload(endpoint, name)
    if status != 200:
        raise not_unloaded(endpoint, name, status, said)


def unload_left_over(base: Endpoint, say: Callable[[str], None]) -> None:
    """Has a server unload what runs that were killed have left there; says what it does.

    Args:
        base: A base's endpoint there.
        say: Shows a line.
    """

    def end(name: str) -> bool:
        try:
            status, said = ask_unload(base, name)
        except RequestFault as fault:
            status, said = 0, str(fault)
        if status == 200:
            say(f"{base.target}: unloaded {name}, which a run that was killed had left there")
        elif status != 404:
            say(
                f"{base.target}: a run that was killed has left {name} there, and it could not be "
                f"unloaded ({said}): inference-server unload-adapter {quote(name)}"
            )
        return status in {200, 404}

    end_left_over(base.base_url, end)


def loaded_as(name: str, base: Endpoint, served: Sequence[ServedModel]) -> str:
    """The name under which a server has an adapter: `name`, or with the hash of its content.

    Raises:
        AdapterError: It has several of that name.
    """
    adapters = _adapters_of(base, served)
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


def _found(target: Target, base: Endpoint, name: str, served: Sequence[ServedModel]) -> Endpoint:
    """An adapter that others loaded: known by name and root, under which anything may lie."""
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
    # vLLM's prefix cache goes by name and path too.
    return replace(endpoint, salt=nonce) if base.engine == "vllm" else endpoint


def _load(
    target: Target,
    base: Endpoint,
    source: Source,
    listing: Listing,
    keep: Callable[[LoadedAdapter], None],
    notes: Sequence[str],
) -> LoadedAdapter:
    name = source.served_name(target.served_name or target.id)
    lease = Lease(base.base_url, name)
    endpoint = _endpoint(target, base, name, {**base.identity, **source.facts})
    adapter = LoadedAdapter(replace(endpoint, notes=tuple(notes)), lease)
    keep(adapter)
    if name not in _adapters_of(base, _listed(listing)):
        lease.claim()
        try:
            path = load(base, source, target=target.id, name=name)
        except AlreadyLoadedError:
            # On another machine, since we have looked; so it is not ours to unload.
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


def _listed(listing: Listing) -> Sequence[ServedModel]:
    """What a server lists; nothing where it has no list of models.

    Raises:
        RequestFault: It gave no usable answer.
    """
    try:
        return listing()
    except RequestFault as fault:
        if has_no_list(fault):
            return []
        raise


def names_on(base: Endpoint, target: Target, listing: Listing) -> set[str]:
    """The names under which a base's server lists or answers for models, an adapter's among them.

    Raises:
        RequestFault: It gave no usable answer.
    """
    served = _listed(listing)
    if served:
        return {model.name for model in served}
    name = _answers_to(target, base)
    return set() if name is None else {name}


def _answers_to(target: Target, base: Endpoint) -> str | None:
    """The name under which a server without a list answers for an adapter; None without one."""
    limits = ClientLimits(connections=1, attempt_timeout=60.0, max_retries=1)
    return ask_by_name(target, base.base_url, base.key, limits=limits, besides=base.model)


def _adapters_of(base: Endpoint, served: Sequence[ServedModel]) -> list[str]:
    """What the server lists as adapters of a base, by whichever of the base's names.

    Where a list gives no model a parent (older vLLM, gateways), any model but the base itself may
    be one; the proof that it differs from its base decides.
    """
    roots = {model.name: model.root for model in served if not model.parent}
    root = roots.get(base.model)
    if len(roots) == len(served):
        # Older vLLM gives an adapter its base's name as root, and so no root tells it apart.
        alias = root if root not in roots else None
        return sorted(
            name for name, other in roots.items() if name != base.model and (other or "") != alias
        )
    own = {name for name, other in roots.items() if root and other == root} | {base.model}
    return sorted(model.name for model in served if model.parent in own)


def _endpoint(target: Target, base: Endpoint, name: str, identity: dict[str, Any]) -> Endpoint:
    return Endpoint(
        target=target.id,
        base_url=base.base_url,
        model=name,
        engine=base.engine,
        identity=identity,
        key=base.key,
        apart=base.apart,
        max_tokens_field=target.max_tokens_field or base.max_tokens_field,
    )


def _other_base(
    adapter: AdapterFolder, base: Endpoint, served: Sequence[ServedModel]
) -> Iterator[str]:
    """A note where an adapter's own words name another base than the served one.

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
    """Refuses an adapter whose tensors do not fit the served model, where both can be read.

    vLLM accepts such adapters and applies what happens to fit, or nothing.
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


def _ask_load(base: Endpoint, path: str, *, target: str, name: str) -> None:
    status, said = post(
        base, target, "load_lora_adapter", _LOAD_SECONDS, lora_name=name, lora_path=path
    )
    if status != 200:
        raise refusal(target, path, status, said)
