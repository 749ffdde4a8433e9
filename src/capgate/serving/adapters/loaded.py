"""An adapter that a run has loaded, and how it is unloaded."""

from __future__ import annotations

from typing import Final

import aiohttp

from capgate.client.bodies import json_or_none
from capgate.client.exchange import fault_of_exception
from capgate.client.faults import Place, words_of
from capgate.client.responses import fault_of_response
from capgate.common.errors import AdapterError
from capgate.serving.adapters.leases import Lease
from capgate.serving.endpoint import Endpoint
from capgate.serving.exchange import exchange

_UNLOAD_SECONDS: Final = 15.0


class LoadedAdapter:
    """An adapter that this run uses under `endpoint`; released when the run ends."""

    def __init__(self, endpoint: Endpoint, lease: Lease | None) -> None:
        self.endpoint = endpoint
        self._lease = lease

    def release(self) -> None:
        """Unloads the adapter where capgate loaded it and nobody else uses it any more.

        Raises:
            AdapterError: The server did not unload it.
            RequestFault: It gave no usable answer.
        """
        lease, self._lease = self._lease, None
        if lease is None:
            return
        with lease.ending() as last:
            if last:
                self.unload()

    def unload(self) -> None:
        """Has the server unload the adapter, if it has it.

        Raises:
            AdapterError: It did not.
            RequestFault: It gave no usable answer.
        """
        status, said = ask_unload(self.endpoint, self.endpoint.model)
        if status not in {200, 404}:
            raise not_unloaded(self.endpoint, self.endpoint.model, status, said)


def not_unloaded(endpoint: Endpoint, name: str, status: int, said: str) -> AdapterError:
    return AdapterError(
        f"the server could not unload the adapter {name} (HTTP {status})",
        target=endpoint.target,
        said=said,
        remedy="inference-server list shows what it serves",
    )


def ask_unload(endpoint: Endpoint, name: str) -> tuple[int, str]:
    return post(endpoint, endpoint.target, "unload_lora_adapter", _UNLOAD_SECONDS, lora_name=name)


def post(endpoint: Endpoint, target: str, route: str, limit: float, **body: str) -> tuple[int, str]:
    """A server's status and words.

    Raises:
        RequestFault: It did not answer, or does not accept the key.
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
