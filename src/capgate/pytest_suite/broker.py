"""How xdist's workers reach what only the controller may own.

The controller listens on a local socket that only its workers can use (a random key);
each worker holds one connection and asks one thing at a time.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from typing import Any, Final

from capgate.common.errors import CapgateError, ServerError
from capgate.common.scratch import Scratch

_BREATH: Final = 0.1


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens; plain values for `workerinput`.

    Attributes:
        path: The socket's file.
        key: The shared key, in hex.
    """

    path: str
    key: str


class Broker:
    """The controller's side: answers calls by name, each worker in a thread of its own.

    Args:
        calls: Name to function; arguments and results must be picklable.
    """

    def __init__(self, calls: Mapping[str, Callable[..., Any]]) -> None:
        self._calls = dict(calls)
        self._folder = Scratch()
        key = secrets.token_bytes(16)
        path = str(self._folder.path / "broker")
        # Without a key here: whoever does not say who he is may keep only his own thread waiting.
        self._listener = Listener(path, family="AF_UNIX", backlog=64)
        self._key = key
        self._closed = False
        self.address = Address(path, key.hex())
        self._thread = threading.Thread(target=self._accept, daemon=True, name="capgate-broker")
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._closed = True
        self._listener.close()
        self._folder.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
            except OSError:
                # Out of file descriptors, perhaps; the workers that wait have no other way.
                time.sleep(_BREATH)
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection[Any, Any]) -> None:
        with contextlib.suppress(EOFError, OSError, AuthenticationError), connection:
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
            while True:
                name, arguments = connection.recv()
                try:
                    reply = (True, self._calls[name](*arguments))
                except CapgateError as error:
                    reply = (False, error)
                except Exception as error:
                    reply = (False, ServerError(f"the run's controller failed: {error!r}"))
                connection.send(reply)


class BrokerClient:
    """A worker's side.

    Args:
        address: The broker's.
    """

    def __init__(self, address: Address) -> None:
        self._connection = Client(
            address.path, family="AF_UNIX", authkey=bytes.fromhex(address.key)
        )
        self._lock = threading.Lock()

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 (whatever is called)
        """Calls a function of the controller.

        Raises:
            CapgateError: What it raised, or that the controller is gone.
        """
        with self._lock:
            try:
                self._connection.send((name, arguments))
                good, value = self._connection.recv()
            except (EOFError, OSError) as error:
                raise ServerError(
                    "the run's controller is gone", said=str(error), remedy="start the run again"
                ) from None
        if not good:
            raise value
        return value
