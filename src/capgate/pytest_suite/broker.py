"""How pytest-xdist's workers reach what only the controller may own.

Each worker has a channel of its own within the connection that pytest-xdist has made to it
anyway (execnet's), and asks one thing at a time. A channel that nobody asks costs nothing: no
socket, no thread.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, Final, Protocol

from capgate.common.errors import CapgateError, ServerError

WORKER_INPUT: Final = "capgate"
"""Where a worker finds its end of the channel (`config.workerinput`)."""

Calls = Mapping[str, Callable[..., Any]]
"""Name to function; arguments and results can be pickled."""


class Channel(Protocol):
    """What is used of `execnet`'s channels, which carry bytes here."""

    def send(self, item: bytes) -> None:
        """Sends a message."""

    def receive(self) -> bytes:
        """Waits for a message."""

    def setcallback(self, callback: Callable[[bytes | None], None], endmarker: None) -> None:
        """Hands each message to a function, and `endmarker` after the last."""


class Broker:
    """The controller's side of one worker's channel; answers in a thread of its own.

    Args:
        channel: The channel.
        calls: Makes the functions that can be called, when the worker calls the first.
    """

    def __init__(self, channel: Channel, calls: Callable[[], Calls]) -> None:
        self._channel = channel
        self._calls = calls
        self._messages: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        channel.setcallback(self._take, endmarker=None)

    def _take(self, message: bytes | None) -> None:
        # In execnet's own thread, which must neither wait nor fail.
        if self._thread is None and message is not None:
            self._thread = threading.Thread(target=self._serve, daemon=True, name="capgate-broker")
            self._thread.start()
        self._messages.put(message)

    def _serve(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                name, arguments = pickle.loads(message)
                reply = pickle.dumps((True, self._calls()[name](*arguments)))
            except CapgateError as error:
                reply = pickle.dumps((False, error))
            except Exception as error:
                fault = ServerError(f"the run's controller failed: {error!r}")
                reply = pickle.dumps((False, fault))
            try:
                self._channel.send(reply)
            except OSError:  # the worker has ended
                return


class BrokerClient:
    """A worker's side.

    Args:
        channel: The worker's end of the channel.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 (any function's result)
        """Calls a function of the controller.

        Raises:
            CapgateError: What it raised, or that the controller is gone.
        """
        with self._lock:
            try:
                self._channel.send(pickle.dumps((name, arguments)))
                good, value = pickle.loads(self._channel.receive())
            except (EOFError, OSError) as error:
                raise ServerError(
                    "the run's controller is gone", said=str(error), remedy="start the run again"
                ) from None
        if not good:
            raise value
        return value
