"""The servers of one target in a Ray cluster, as the run's controller sees them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final

from capgate.common.errors import ServerError
from capgate.common.text import harmless, one_line
from capgate.config.targets import Target
from capgate.serving.engines.managed import ENGINE_NAMES, from_here
from capgate.serving.engines.waiting import Waiting

_END_SECONDS: Final = 60.0
_POLL: Final = 0.2


@dataclass
class RayServer:
    """A server on a node of the cluster. Its address changes when it is started anew elsewhere.

    Attributes:
        base_url: Its API's root.
        key: Its random key.
        identity: What it serves, see `Endpoint.identity`.
        place: Its name among the servers of its target.
        log: The file that gets the last of its log when it has ended.
        node: Where it runs, for people.
        alive: Whether it runs.
    """

    base_url: str
    key: str = field(repr=False)
    identity: Mapping[str, Any]
    place: str
    log: Path
    node: str
    alive: bool = True
    _words: str = ""
    _end: Callable[[], None] = lambda: None

    def last_words(self) -> str:
        """The last lines of its log, or what Ray says of its end."""
        return self._words or "    (its node is gone, and its log with it)"

    def stop(self) -> None:
        """Ends it, with the other servers of its target, and waits for that."""
        self._end()


class Placing:
    """The servers of one target: while they are placed, and afterwards.

    Args:
        number: Its number in the run.
        target: The target.
        logs: Folder for logs.
        say: Shows a line.
        stop: Has the servers ended.
    """

    def __init__(
        self,
        number: int,
        target: Target,
        logs: Path,
        say: Callable[[str], None],
        stop: Callable[[Placing], None],
    ) -> None:
        self.id = number
        self.target = target
        self._stop = stop
        self._logs = logs
        self._say = say
        self._heard: Queue[dict[str, Any]] = Queue()
        self._servers: dict[int, RayServer] = {}
        self._started = False
        self._running: set[int] = set()
        self._over = threading.Event()
        self._ending = False

    def servers(self) -> Sequence[RayServer]:
        """Waits until all servers are healthy, or given up.

        Raises:
            ServerError: There is no room, or one did not start.
        """
        target = self.target
        spec = target.serve
        assert spec is not None
        waiting = Waiting(f"{target.id}: {ENGINE_NAMES[spec.engine]} on Ray", self._say)
        settled: set[int] = set()
        count: int | None = None
        while count is None or len(settled) < count:
            waiting.tell()
            try:
                said = self._heard.get(timeout=_POLL)
            except Empty:
                continue
            if "asked" in said:
                count = int(said["asked"])
                as_many = "" if said["fixed"] else ", as many as there is room for,"
                self._say(
                    f"{target.id}: placing {count} {ENGINE_NAMES[spec.engine]} "
                    f"server{'s' if count > 1 else ''}{as_many} on Ray, each with {said['each']}, "
                    f"up to {spec.start_timeout:g} s"
                )
            elif "up" in said or "given_up" in said:
                settled.add(said["number"])
                if "given_up" in said:
                    self._say(
                        f"{target.id}: {_place(said['number'])} is left out: {said['given_up']}"
                    )
            elif "no_room" in said:
                raise _no_room(target, said["no_room"], len(settled), count or 1)
            elif "failed" in said:
                raise _failed(target, said)
            elif "over" in said:
                raise ServerError(
                    "the process that talks to Ray has ended",
                    target=target.id,
                    remedy=f"what Ray says is in {from_here(self._logs / 'ray.log')}",
                )
        waiting.ready()
        self._started = True
        found = [self._servers[number] for number in sorted(self._servers)]
        if not found:
            raise ServerError("none of its servers was placed in the Ray cluster", target=target.id)
        return found

    def end(self) -> None:
        """Ends the servers and waits for that."""
        if not self._ending:
            self._ending = True
            self._stop(self)
        if self._running:
            self._over.wait(_END_SECONDS)

    def leave(self) -> None:
        """Says nothing more: the run is over."""
        self._ending = True

    def hear(self, said: dict[str, Any]) -> None:
        """Takes a line of the driver's; in the thread that hears it."""
        number = said.get("number", 1)
        if "up" in said:
            self._is_up(number, said["up"], said["where"])
        elif "down" in said:
            self._is_down(number, said["down"])
        elif "over" in said:
            for server in self._servers.values():
                server.alive = False
            self._running.clear()
            self._over.set()
        elif self._started and not self._ending:
            self._tell_later(number, said)
        self._heard.put(said)

    def _is_up(self, number: int, up: Mapping[str, Any], where: Mapping[str, str]) -> None:
        node = f"{where['address']} (node {where['node'][:8]})"
        self._say(f"{self.target.id}: {_place(number)} runs on {node}")
        self._running.add(number)
        server = self._servers.get(number)
        if server is None:
            self._servers[number] = RayServer(
                up["base_url"],
                up["key"],
                up["identity"],
                _place(number),
                self._logs / f"server-{self.target.id}-{number}.log",
                node,
                _end=self.end,
            )
            return
        server.key, server.identity, server.node = up["key"], up["identity"], node
        server.base_url, server.alive = up["base_url"], True

    def _is_down(self, number: int, down: Mapping[str, str]) -> None:
        server = self._servers[number]
        server.alive = False
        server._words = harmless(down["words"])
        if down["log"]:
            server.log.touch(mode=0o600)
            with server.log.open("a", encoding="utf-8") as file:
                file.write(down["log"])
        self._running.discard(number)
        if not self._running:
            self._over.set()
        if not self._ending:
            why = one_line(down["words"].strip().rsplit("\n", 1)[-1], limit=200)
            self._say(
                f"{self.target.id}: {_place(number)} on {server.node} has ended and is started "
                f"anew where there is room ({why or 'no word of it'})"
            )

    def _tell_later(self, number: int, said: Mapping[str, Any]) -> None:
        """Tells what happens to a server that is started anew."""
        if "failed" in said:
            fault = _failed(self.target, said)
            self._say(f"{_place(number)} could not be started anew: {fault}")
        elif "given_up" in said:
            self._say(f"{self.target.id}: {_place(number)} is not started anew: {said['given_up']}")


def _place(number: int) -> str:
    return f"replica {number}"


def _no_room(target: Target, said: Mapping[str, Any], placed: int, count: int) -> ServerError:
    which = "its server" if count == 1 else f"{count - placed} of its {count} servers"
    return ServerError(
        f"the Ray cluster had no room for {which} within {said['seconds']:g} s: each asks for "
        f"{said['asked']} on one node, and the cluster has {said['has']}",
        target=target.id,
        remedy="free a part of the cluster, lower replicas, num_cpus, num_gpus or resources in the "
        "serve block, or raise its placement_timeout",
    )


def _failed(target: Target, said: Mapping[str, Any]) -> ServerError:
    fault = said["failed"]
    where = f"on the node {said['node']} of the Ray cluster: " if said["node"] else ""
    return ServerError(
        f"{where}{harmless(fault['what'])}",
        target=target.id,
        said=fault.get("said", ""),
        remedy=fault.get("remedy", ""),
    )
