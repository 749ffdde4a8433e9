"""A server that a run starts for a target and ends when the run ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from capgate.common.errors import ServerError
from capgate.common.private_files import own_folder
from capgate.common.text import printable
from capgate.config.targets import LlamaCppServe, Target
from capgate.serving.engines import llamacpp, vllm
from capgate.serving.engines.supervisor import DETACH
from capgate.serving.engines.waiting import Waiting
from capgate.serving.engines.weights import digest
from capgate.serving.exchange import exchange

LOOPBACK: Final = "127.0.0.1"
"""The address that only this machine reaches."""

_POLL_SECONDS: Final = 0.1
_HEALTH_SECONDS: Final = 5.0
_LOG_LINES: Final = 12
_LOG_BYTES: Final = 64 << 10
_STOP_SECONDS: Final = 20.0
ENGINE_NAMES: Final = {"vllm": "vLLM", "llamacpp": "llama.cpp"}
"""The engines' names for people."""


@dataclass
class ManagedServer:
    """A running server, its owner's end of the supervisor's standard input, and its log.

    Attributes:
        base_url: Its API's root.
        key: Its random key.
        identity: What it serves, see `Endpoint.identity`.
        log: Its log file.
        place: Its name among the servers of its target; `""` where it is the only one.
    """

    target: str
    base_url: str
    key: str = field(repr=False)
    identity: Mapping[str, Any]
    log: Path
    _supervisor: subprocess.Popen[bytes]
    place: str = ""

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._supervisor.poll() is None

    def wait(self) -> None:
        """Waits for its end."""
        self._supervisor.wait()

    def last_words(self) -> str:
        """The last lines of its log."""
        return _tail(self.log, self.key)

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        return self._supervisor.pid

    def detach(self) -> None:
        """Lets the server go on when this process ends."""
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.write(DETACH)
        self._supervisor.stdin.close()

    def stop(self) -> None:
        """Ends the server and waits for its end."""
        _stop(self._supervisor)


def start(
    target: Target,
    logs: Path,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
    *,
    number: int = 0,
    variables: Mapping[str, str] | None = None,
    host: str = LOOPBACK,
) -> ManagedServer:
    """Starts a target's server, which ends with this process, and waits until it is healthy.

    Args:
        target: A target with a `serve` block.
        logs: Folder for its log.
        say: Shows a line: that the server is being started, and how long that takes.
        number: Which of the target's servers it is, from 1; 0 for the only one.
        variables: Further environment variables; those of the `serve` block win.
        host: The address of this machine at which it answers.

    Raises:
        ServerError: The server did not start, ended, or was not healthy in time; the message has
            the last lines of its log.
    """
    spec = target.serve
    assert spec is not None
    own_folder(logs)
    name = f"server-{target.id}-{number}" if number else f"server-{target.id}"
    log = logs / f"{name}.log"
    log.touch(mode=0o600)
    key = secrets.token_urlsafe(24)
    address = logs / f"{name}.address"
    address.unlink(missing_ok=True)
    place = f"replica {number}" if number else ""
    engine = f"{ENGINE_NAMES[spec.engine]}{f', {place},' if place else ''}"
    say(f"{target.id}: starting {engine} (log: {from_here(log)}), up to {spec.start_timeout:g} s")
    waiting = Waiting(f"{target.id}: {engine}", say)
    # To hash the weights takes a while, which counts as starting.
    facts = identity(target)
    if isinstance(spec, LlamaCppServe):
        command = llamacpp.command(target, spec, address, host)
        extra = {llamacpp.KEY_VARIABLE: key, "OMP_WAIT_POLICY": "passive"}
        url = None
    else:
        port = vllm.free_port(host)
        command = vllm.command(target, spec, port, host)
        extra = vllm.environment(spec, key, target.id)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    supervisor = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "capgate.serving.engines.supervisor",
            str(log),
            *command,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **extra, **(variables or {}), **spec.env},
        start_new_session=True,
    )
    try:
        root = _await_health(
            supervisor, target, spec.start_timeout, log, address, url, key, waiting
        )
    except BaseException:
        _stop(supervisor)
        raise
    finally:
        address.unlink(missing_ok=True)
    return ManagedServer(target.id, f"{root}/v1", key, facts, log, supervisor, place)


def identity(target: Target) -> Mapping[str, Any]:
    """What a target's `serve` block serves, for `Endpoint.identity`.

    Raises:
        ServerError: Its engine or its weights are missing.
    """
    spec = target.serve
    assert spec is not None
    if isinstance(spec, LlamaCppServe):
        return {
            "engine": llamacpp.engine_version(target.id),
            "weights": digest(llamacpp.weights(spec, target.id)),
            "context": target.context_window,
        }
    return vllm.identity(target, spec)


def from_here(path: Path) -> str:
    """A path relative to the current folder where it lies in it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _await_health(
    supervisor: subprocess.Popen[bytes],
    target: Target,
    limit: float,
    log: Path,
    address: Path,
    url: str | None,
    key: str,
    waiting: Waiting,
) -> str:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        code = supervisor.poll()
        if code is not None:
            raise ServerError(
                f"its server ended with exit code {code} before it was ready; the last "
                f"lines of {log} are:\n{_tail(log, key)}\n",
                target=target.id,
                remedy="correct what they name, or the serve block in the targets' file",
            )
        if url is None and address.exists():
            url = address.read_text(encoding="utf-8")
        if url is not None:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                health = exchange("GET", f"{url}/health", limit=_HEALTH_SECONDS, body=False)
                if health.status == 200:
                    waiting.ready()
                    return url
        waiting.tell()
        time.sleep(_POLL_SECONDS)
    raise ServerError(
        f"its server was not healthy within {limit:g} s; the last lines of {log} are:\n"
        f"{_tail(log, key)}\n",
        target=target.id,
        remedy="raise serve.start_timeout if it was still loading",
    )


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    assert supervisor.stdin is not None
    if supervisor.stdin.closed:
        supervisor.terminate()
    else:
        supervisor.stdin.close()
    try:
        supervisor.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _tail(log: Path, key: str) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_BYTES))
            lines = file.read(_LOG_BYTES).decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return "(no log)"
    return (
        "\n".join(f"    {printable(line.replace(key, '***'))[:300]}" for line in lines) or "(empty)"
    )
