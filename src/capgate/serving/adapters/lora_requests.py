"""vLLM's two requests for adapters at run time: load one, unload one."""

from __future__ import annotations

from typing import Final

import aiohttp

from capgate.client.bodies import json_or_none
from capgate.client.exchange import fault_of_exception
from capgate.client.faults import Place, words_of
from capgate.client.responses import fault_of_response
from capgate.common.errors import AdapterError
from capgate.serving.adapters.refusals import NoSuchPathError, cannot_serve, refusal
from capgate.serving.adapters.sources import Source
from capgate.serving.endpoint import Endpoint
from capgate.serving.exchange import exchange

_LOAD_SECONDS: Final = 300.0
_UNLOAD_SECONDS: Final = 15.0


def load(base: Endpoint, source: Source, *, target: str, name: str) -> str:
    """Has the server load an adapter.

    Returns:
        What it loaded: the source's path, or its hub id.

    Raises:
        AdapterError: The server refuses it, or vLLM does not serve adapters of its kind.
        RequestFault: The server gave no usable answer.
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
    # A server on another machine downloads it from the hub by itself.
    _ask_load(base, source.hub_id, target=target, name=name)
    return source.hub_id


def unload(endpoint: Endpoint, name: str) -> None:
    """Has the server unload an adapter.

    Raises:
        AdapterError: The server has no adapter of that name.
        RequestFault: The server gave no usable answer.
    """
    status, said = ask_unload(endpoint, name)
    if status != 200:
        raise not_unloaded(endpoint, name, status, said)


def ask_unload(endpoint: Endpoint, name: str) -> tuple[int, str]:
    """Asks a server to unload an adapter; returns the HTTP status and the server's words.

    Raises:
        RequestFault: The server did not answer, or does not accept the key.
    """
    return _post(endpoint, endpoint.target, "unload_lora_adapter", _UNLOAD_SECONDS, lora_name=name)


def not_unloaded(endpoint: Endpoint, name: str, status: int, said: str) -> AdapterError:
    """The fault of a server that did not unload an adapter."""
    return AdapterError(
        f"the server could not unload the adapter {name} (HTTP {status})",
        target=endpoint.target,
        said=said,
        remedy="inference-server list shows what it serves",
    )


def _ask_load(base: Endpoint, path: str, *, target: str, name: str) -> None:
    status, said = _post(
        base, target, "load_lora_adapter", _LOAD_SECONDS, lora_name=name, lora_path=path
    )
    if status != 200:
        raise refusal(target, path, status, said)


def _post(
    endpoint: Endpoint, target: str, route: str, limit: float, **body: str
) -> tuple[int, str]:
    """The HTTP status and words of a server's answer.

    Raises:
        RequestFault: The server did not answer, or does not accept the key.
    """
    url = f"{endpoint.base_url}/{route}"
    place = Place(target, url, endpoint.model, endpoint.key or "")
    try:
        answer = exchange("POST", url, limit=limit, key=endpoint.key or "", json=body)
    except (aiohttp.ClientError, OSError) as error:
        raise fault_of_exception(place, error, limit=limit) from None
    parsed = json_or_none(answer.raw)
    if answer.status in {401, 403}:
        raise fault_of_response(place, answer.status, parsed, answer.raw, answer.headers)
    return answer.status, words_of(parsed, answer.raw)
