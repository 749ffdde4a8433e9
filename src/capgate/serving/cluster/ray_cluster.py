"""A run's servers in a Ray cluster, as its controller sees them.

Ray itself is in a process of its own (`driver`), so that nothing of it is imported here.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final

from capgate.common.errors import CapgateError, ConfigError, ServerError
from capgate.common.private_files import own_folder
from capgate.common.scratch import Scratch
from capgate.config.targets import Target, VllmServe
from capgate.serving.cluster.placing import Placing, RayServer
from capgate.serving.engines.managed import from_here

LOCAL: Final = "local"
_CONNECT_SECONDS: Final = 10.0
_JOIN_SECONDS: Final = 60.0
_END_SECONDS: Final = 60.0


class RayCluster:
    """A run's connection to a Ray cluster. It is made when the first server is needed.

    Args:
        address: `HOST:PORT` or `auto`; `local` for a cluster of this machine's, which ends with
            the run.
        targets: The run's targets; those that have a `serve` block share the cluster's room.
    """

    def __init__(self, address: str, targets: Iterable[Target]) -> None:
        self._address = address
        self._to_come = max(1, sum(one.serve is not None for one in targets))
        self._lock = threading.Lock()
        self._driver: _Driver | None = None
        self._fault: CapgateError | None = None
        self._closed = False

    def start(self, target: Target, logs: Path, say: Callable[[str], None]) -> Sequence[RayServer]:
        """Starts a target's servers in the cluster; see `addresses.Starter`.

        Raises:
            ServerError: The cluster does not answer, has no room, or a server did not start.
            ConfigError: Ray is not installed.
        """
        driver, share = self._joined(target, logs, say)
        spec = target.serve
        assert spec is not None
        fixed = spec.replicas if "replicas" in spec.model_fields_set else None
        placing = driver.place(target, logs, say, fixed, share)
        try:
            return placing.servers()
        except BaseException:
            placing.end()
            raise

    def close(self) -> None:
        """Ends the servers, leaves the cluster, and ends it if it is this run's own."""
        with self._lock:
            self._closed = True
            if self._driver is not None:
                self._driver.close()
                self._driver = None

    def _check_address(self, target: Target) -> None:
        """Looks whether anything listens at the cluster's address: Ray takes a minute for that.

        Raises:
            ServerError: Nothing does.
        """
        host, colon, port = self._address.rpartition(":")
        if not colon:
            return
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            self._fault = ServerError(
                f"no Ray cluster answers at {self._address}",
                target=target.id,
                said=str(error),
                remedy="correct --ray: ray status shows the address on a machine of the cluster",
            )
            raise self._fault from None

    def _joined(
        self, target: Target, logs: Path, say: Callable[[str], None]
    ) -> tuple[_Driver, int]:
        """The connection, and among how many targets the room that is left is divided."""
        with self._lock:
            if self._closed:
                raise ConfigError("the run is over", target=target.id)
            share, self._to_come = self._to_come, max(1, self._to_come - 1)
            if self._fault is not None:
                raise self._fault
            if self._driver is None:
                self._check_address(target)
                own_folder(logs)
                what = "a local Ray cluster" if self._address == LOCAL else "the Ray cluster"
                log = logs / "ray.log"
                say(f"joining {what}, up to {_JOIN_SECONDS:g} s (log: {from_here(log)})")
                driver = _Driver(self._address, log)
                try:
                    has = driver.join(_JOIN_SECONDS)
                except BaseException as fault:
                    driver.kill()
                    if isinstance(fault, CapgateError):
                        fault.target = target.id
                        self._fault = fault
                    raise
                say(f"{what} has {has}")
                self._driver = driver
            return self._driver, share


class _Driver:
    """The process that talks to Ray, and the thread that hears it.

    Args:
        address: The cluster's.
        log: What Ray itself says goes there.
    """

    def __init__(self, address: str, log: Path) -> None:
        self._address = address
        self._log = log
        self._scratch = Scratch("/tmp") if address == LOCAL else None
        log.touch(mode=0o600)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "capgate.serving.cluster.driver"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | self._variables(),
                # Ctrl-C is for pytest: this process ends when its input does.
                start_new_session=True,
                pass_fds=() if self._scratch is None else (self._scratch.fileno(),),
            )
        self._joining: Queue[dict[str, Any]] = Queue()
        self._placings: dict[int, Placing] = {}
        self._writing = threading.Lock()
        threading.Thread(target=self._hear, daemon=True, name="capgate-ray").start()
        self._write({"address": address})

    def _variables(self) -> dict[str, str]:
        quiet = {"RAY_USAGE_STATS_ENABLED": "0"}
        if self._scratch is None:
            return quiet
        return quiet | {
            # Ray's servers listen at 127.0.0.1 alone, and take orders from this run alone.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_TMPDIR": str(self._scratch.path),
        }

    def join(self, limit: float) -> str:
        """Waits for the cluster; returns what it has.

        Raises:
            ConfigError: Ray is not installed.
            ServerError: It refuses, or does not answer in time.
        """
        where = (
            "a local Ray cluster"
            if self._address == LOCAL
            else (f"the Ray cluster at {self._address}")
        )
        try:
            said = self._joining.get(timeout=limit)
        except Empty:
            raise ServerError(
                f"{where} does not answer within {limit:g} s",
                remedy="check the address (ray status) and that this machine belongs to the "
                f"cluster; what Ray says is in {from_here(self._log)}",
            ) from None
        if "missing" in said:
            raise ConfigError(
                "Ray can't be imported",
                said=said["missing"],
                remedy="install it with: pip install 'capgate[ray]'",
            )
        if "joined" not in said:
            raise ServerError(
                f"{where} can't be joined",
                said=said.get("refused", "") or "its process ended",
                remedy=f"what Ray says is in {from_here(self._log)}",
            )
        return str(said["joined"])

    def place(
        self,
        target: Target,
        logs: Path,
        say: Callable[[str], None],
        fixed: int | None,
        share: int,
    ) -> Placing:
        """Begins to place the servers of a target.

        Args:
            target: The target.
            logs: Folder for logs.
            say: Shows a line.
            fixed: How many; None for as many as there is room for.
            share: Among how many targets the room is divided.
        """
        with self._writing:
            number = len(self._placings)
            placing = self._placings[number] = Placing(
                number, target, logs, say, lambda one: self._write({"stop": one.id})
            )
        order = {
            "id": number,
            "target": _from_anywhere(target).model_dump(mode="json"),
            "replicas": fixed,
            "share": share,
        }
        self._write({"place": order})
        return placing

    def close(self) -> None:
        """Ends all, and waits for it."""
        assert self._process.stdin is not None
        for placing in list(self._placings.values()):
            placing.leave()
        with self._writing, suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._scratch is not None:
            self._scratch.close()

    def kill(self) -> None:
        """Ends the process at once; nothing was placed yet."""
        self._process.kill()
        self.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            with self._writing:
                self._process.stdin.write(json.dumps(line) + "\n")
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has ended; the thread that hears it tells so

    def _hear(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "id" in said:
                self._placings[said["id"]].hear(said)
            else:
                self._joining.put(said)
        self._joining.put({})
        for placing in list(self._placings.values()):
            placing.hear({"over": True})


def _from_anywhere(target: Target) -> Target:
    """A target whose files are named so that a node with the same file system finds them."""
    spec = target.serve
    assert spec is not None
    changed: dict[str, str] = {}
    if not spec.model.startswith(("/", "~", "package:")) and Path(spec.model).exists():
        changed["model"] = str(Path(spec.model).absolute())
    python = spec.python if isinstance(spec, VllmServe) else None
    if python is not None and not python.startswith(("/", "~")):
        changed["python"] = str(Path(python).absolute())
    return target.model_copy(update={"serve": spec.model_copy(update=changed)})
