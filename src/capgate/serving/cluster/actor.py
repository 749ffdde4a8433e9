"""What Ray places on a node: an actor that has one server of a model run there.

It imports only the standard library, so that it is there soon. It keeps no key: what the server's
own process says is handed on as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from typing import Any, Final

_OF_RAY: Final = ("RAY_", "OMP_NUM_THREADS")
"""Beginnings of the variables that Ray sets for its own workers. Among them are secrets of the
cluster, and one that would slow a server down."""

_END_SECONDS: Final = 40.0


class Replica:
    """One server of a target, on the node where Ray has placed this actor.

    Its methods run in threads of their own: `wait` lasts as long as the server.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def place(self) -> dict[str, str]:
        """Where this actor is: the node's address and id, and the version of capgate there."""
        import ray

        return {
            "address": ray.util.get_node_ip_address(),
            "node": ray.get_runtime_context().get_node_id(),
            "capgate": version("capgate"),
        }

    def start(self, order: dict[str, Any]) -> dict[str, Any]:
        """Starts the server and waits until it is healthy.

        Args:
            order: The order as `replica` reads it.

        Returns:
            What `replica` says: `up` with the server's facts, or `failed` with the fault's.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "capgate.serving.cluster.replica"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith(_OF_RAY)},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._read()

    def wait(self) -> dict[str, Any]:
        """Waits for the server's end; returns what `replica` says of it."""
        return self._read()

    def stop(self) -> None:
        """Ends the server; `wait` returns then."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {}
        return said
