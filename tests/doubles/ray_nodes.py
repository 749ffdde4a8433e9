"""A Ray cluster of several nodes on this machine, each with processes of its own.

Run as `python -m tests.doubles.ray_nodes`: starts what the first line of standard input says
(the resources of each node), says the cluster's address, and ends it when standard input ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

import psutil

REPOSITORY = Path(__file__).parents[2]
_OBJECT_STORE: Final = 80 << 20
LOOPBACK: Final = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}
"""What Ray's processes, and those that join them, need to stay on 127.0.0.1."""


class RayNodes:
    """The cluster; its first node is the head, which has no room for actors.

    Args:
        folder: Its files; a short path.
        nodes: The resources of each node beside the head.
        python: The interpreter of the nodes.

    Attributes:
        address: Where it is.
    """

    def __init__(
        self, folder: Path, *nodes: dict[str, float], python: str = sys.executable
    ) -> None:
        self._folder = folder
        self._nodes = nodes
        self._python = python
        self.address = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [self._python, "-m", "tests.doubles.ray_nodes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=REPOSITORY,
            env=os.environ
            | LOOPBACK
            | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(self._folder)},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._nodes) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("address "):
                self.address = line.split()[1]
                return self
        self.__exit__()
        raise AssertionError("the cluster did not start")

    def __exit__(self, *exc: object) -> None:
        family = self.process.children(recursive=True)
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.kill()
        self._process.wait()

    @property
    def process(self) -> psutil.Process:
        """The process below which all nodes are."""
        return psutil.Process(self._process.pid)

    def homes(self, servers: list[psutil.Process]) -> set[int]:
        """The process ids of the nodes on which servers run."""
        return {_node_of(server).pid for server in servers}

    @property
    def actors(self) -> list[psutil.Process]:
        """The processes of actors on all nodes."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Replica"):
                    found.append(process)
        return found

    def texts(self) -> bytes:
        """All that Ray has written into files."""
        return b"".join(path.read_bytes() for path in self._folder.rglob("*") if path.is_file())


def kill_node_of(server: psutil.Process) -> None:
    """Kills the node on which a server runs, and all that runs there, as a power cut does."""
    node = _node_of(server)
    for process in (node, *node.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _node_of(server: psutil.Process) -> psutil.Process:
    return next(one for one in server.parents() if one.name() == "raylet")


def main() -> None:
    """Starts the cluster and waits."""
    nodes: list[dict[str, Any]] = json.loads(sys.stdin.readline())
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": _OBJECT_STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for resources in nodes:
        further = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU")}
        cluster.add_node(
            num_cpus=resources.get("CPU", 1),
            num_gpus=resources.get("GPU", 0),
            resources=further,
            object_store_memory=_OBJECT_STORE,
        )
    print("address", cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
