"""An adapter that a run has loaded, and how it is unloaded."""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote

from capgate.common.errors import RequestFault
from capgate.serving.adapters.leases import Lease, end_left_over
from capgate.serving.adapters.lora_requests import ask_unload, not_unloaded
from capgate.serving.adapters.shared_leases import SharedLeases
from capgate.serving.endpoint import Endpoint


class LoadedAdapter:
    """An adapter that this run uses, until `release` is called.

    Args:
        endpoint: Where it answers.
        lease: This run's share in it; None if capgate did not load it.
    """

    def __init__(self, endpoint: Endpoint, lease: Lease | None) -> None:
        self.endpoint = endpoint
        self._lease = lease

    def release(self) -> None:
        """Unloads the adapter if capgate loaded it and no other run uses it any more.

        Raises:
            AdapterError: The server did not unload it.
            RequestFault: The server gave no usable answer.
        """
        lease, self._lease = self._lease, None
        if lease is None:
            return
        with lease.ending() as last:
            if last:
                self.unload()

    def unload(self) -> None:
        """Has the server unload the adapter; an adapter that it does not have is no fault.

        Raises:
            AdapterError: The server did not unload it.
            RequestFault: The server gave no usable answer.
        """
        status, said = ask_unload(self.endpoint, self.endpoint.model)
        if status not in {200, 404}:
            raise not_unloaded(self.endpoint, self.endpoint.model, status, said)


def unload_left_over(
    base: Endpoint, say: Callable[[str], None], leases: SharedLeases | None = None
) -> None:
    """Has a server unload the adapters of runs that were killed, and tells of each.

    Args:
        base: The endpoint of a base on that server.
        say: Shows a line.
        leases: The leases of all machines, where something keeps them.
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

    end_left_over(base.base_url, end, leases)
