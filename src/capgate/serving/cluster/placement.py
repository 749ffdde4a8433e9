"""One server in a Ray cluster: placed, watched, and started anew elsewhere when it has died."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from capgate.common.text import one_line
from capgate.serving.cluster.actor import Replica

RESTARTS: Final = 5
"""How often a server is started anew; one that dies more often has a fault of its own."""

_POLL: Final = 0.5
_END_SECONDS: Final = 45.0
_FURTHER_SECONDS: Final = 30.0
"""Seconds that a server which the run can do without waits for room."""

_WORDS: Final = 600
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_ERROR: Final = re.compile(r"[\w.]*(Error|Exception)\b.*: ")


class Tell(Protocol):
    """Writes a line to the controller."""

    def __call__(self, **line: object) -> None:
        """Writes it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be placed.

    Attributes:
        id: The controller's number of the target.
        number: The server's number among the target's, from 1.
        target: The target's fields.
        options: The actor's options: what it asks of the cluster.
        each: The same in words.
        patience: Seconds that it waits for room.
        optional: Whether the run can do without it.
    """

    id: int
    number: int
    target: dict[str, Any]
    options: dict[str, Any]
    each: str
    patience: float
    optional: bool


class Placement:
    """Keeps one server of a target alive, in a thread of its own, until `end`.

    Args:
        order: What is to be placed.
        tell: Writes a line to the controller.
        cluster: What the cluster has, in words.
    """

    def __init__(self, order: Order, tell: Tell, cluster: Callable[[], str]) -> None:
        self._order = order
        self._tell = tell
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def end(self) -> None:
        """Has the server ended."""
        self._over.set()

    def join(self) -> None:
        """Waits until it has ended."""
        self._thread.join(_END_SECONDS)

    def _keep(self) -> None:
        for life in range(RESTARTS + 1):
            if life and self._over.wait(2.0 ** (life - 1)):
                return
            if not self._live(first=life == 0):
                return
        self._say(given_up=f"it has died {RESTARTS + 1} times")

    def _live(self, *, first: bool) -> bool:
        """One life of the server; returns whether it is to be started anew."""
        import ray

        up = False
        actor: Any = None
        try:
            # It belongs to this process, so Ray ends it when this process ends.
            kind: Any = ray.remote(Replica)
            actor = kind.options(
                **self._order.options,
                max_concurrency=4,
                max_restarts=0,
                scheduling_strategy="SPREAD",
            ).remote()
            where = self._await(actor.place.remote(), self._patience if first else None)
            if where is None:
                if not self._over.is_set():
                    self._without_room()
                return False
            self._say(placed=where)
            order = {
                "target": self._order.target,
                "number": self._order.number,
                "address": where["address"],
            }
            said = self._await(actor.start.remote(order), None)
            if said is None:
                return False
            if "up" not in said:
                fault = said.get("failed") or {"what": "its process ended before it was ready"}
                self._say(failed=fault, node=where["address"])
                return not first
            up = True
            self._say(up=said["up"], where=where)
            end = actor.wait.remote()
            ended = self._await(end, None)
            if ended is None:
                ray.get(actor.stop.remote(), timeout=_END_SECONDS)
                ended = ray.get(end, timeout=_END_SECONDS)
            self._say(down=ended.get("ended") or {"words": "", "log": ""})
        except ray.exceptions.RayError as error:
            words = _words(error)
            if up:
                self._say(down={"words": words, "log": ""})
            else:
                self._say(failed=_not_started(words), node="")
                return not first
        except Exception as error:  # an actor's options that Ray refuses, among others
            self._say(failed=_not_started(_words(error)), node="")
            return False
        finally:
            if actor is not None:
                ray.kill(actor)
        return not self._over.is_set()

    @property
    def _patience(self) -> float:
        patience = self._order.patience
        return min(patience, _FURTHER_SECONDS) if self._order.optional else patience

    def _await(self, reference: Any, limit: float | None) -> Any:  # noqa: ANN401
        """What an actor's method returns; None where it takes too long, or the run is over.

        Raises:
            ray.exceptions.RayError: The actor has died, or could not begin.
        """
        import ray

        deadline = None if limit is None else time.monotonic() + limit
        while not self._over.is_set():
            done, _ = ray.wait([reference], timeout=_POLL)
            if done:
                return ray.get(reference)
            if deadline is not None and time.monotonic() >= deadline:
                return None
        return None

    def _without_room(self) -> None:
        if self._order.optional:
            self._say(given_up="the cluster has no room for it")
        else:
            self._say(
                no_room={
                    "asked": self._order.each,
                    "has": self._cluster(),
                    "seconds": self._order.patience,
                }
            )

    def _say(self, **line: object) -> None:
        self._tell(id=self._order.id, number=self._order.number, **line)


def _words(error: Exception) -> str:
    """What an exception of Ray's says, without the traceback that it carries.

    Its last line that names an error is the one at the bottom of that.
    """
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    return one_line((named or lines[:1] or [repr(error)])[-1], limit=_WORDS)


def _not_started(words: str) -> dict[str, str]:
    if "No module named 'capgate" in words:
        return {
            "what": "a node of the Ray cluster has no capgate",
            "said": words,
            "remedy": "pip install capgate there: every node needs it, and the engine",
        }
    return {"what": "its actor could not start on a node of the Ray cluster", "said": words}
