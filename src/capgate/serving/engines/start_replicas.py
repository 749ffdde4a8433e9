"""Starts the servers of one target on this machine: one, or as many as `serve.replicas` says."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from capgate.common.errors import CapgateError, ServerError
from capgate.config.targets import Target, VllmServe
from capgate.serving.engines.managed import ManagedServer, start

DEVICES: Final = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs a process may use."""

_DRIVER: Final = Path("/proc/driver/nvidia/gpus")
"""Has one folder for each NVIDIA GPU of this machine."""

_PARALLEL: Final = {
    "--tensor-parallel-size": 1,
    "-tp": 1,
    "--pipeline-parallel-size": 1,
    "-pp": 1,
    "--data-parallel-size": 1,
    "-dp": 1,
}
"""vLLM's flags by which one server takes several GPUs; their product is how many."""


def start_replicas(
    target: Target, logs: Path, say: Callable[[str], None]
) -> Sequence[ManagedServer]:
    """Starts a target's servers, all at the same time, and waits until they are healthy.

    Each has a port, a key and a log of its own. On a machine with GPUs each has its own of them,
    unless the `serve` block says by itself which ones its servers use.

    Args:
        target: A target with a `serve` block.
        logs: Folder for logs.
        say: Shows a line.

    Raises:
        ServerError: One of them did not start; then none is left running.
    """
    if target.replicas == 1:
        return [start(target, logs, say)]
    devices = devices_of(target, os.environ, gpus_here())
    started: list[ManagedServer] = []

    def one(number: int) -> CapgateError | None:
        variables = {DEVICES: devices[number - 1]} if devices else {}
        try:
            started.append(start(target, logs, say, number=number, variables=variables))
        except CapgateError as fault:
            return fault
        return None

    try:
        with ThreadPoolExecutor(target.replicas) as pool:
            faults = [f for f in pool.map(one, range(1, target.replicas + 1)) if f is not None]
        if faults:
            raise faults[0]
    except BaseException:
        for server in started:
            server.stop()
        raise
    return sorted(started, key=lambda server: int(server.place.split()[-1]))


def gpus_here() -> int:
    """How many NVIDIA GPUs this machine has."""
    try:
        return sum(1 for _ in _DRIVER.iterdir())
    except OSError:
        return 0


def devices_of(target: Target, environment: Mapping[str, str], gpus: int) -> Sequence[str]:
    """Which GPUs each of a target's servers may use, as values of `CUDA_VISIBLE_DEVICES`.

    Args:
        target: A target with a `serve` block.
        environment: This process's variables; the GPUs that it may use are dealt out.
        gpus: How many GPUs the machine has, where the variable does not say it.

    Returns:
        One value for each server; empty where no server is bound to GPUs.

    Raises:
        ServerError: There are too few of them for vLLM.
    """
    spec = target.serve
    assert spec is not None
    if DEVICES in spec.env:
        return []
    given = environment.get(DEVICES)
    known = [str(n) for n in range(gpus)] if given is None else given.split(",")
    known = [one.strip() for one in known if one.strip()]
    if not known:
        return []  # a machine without GPUs, or one that hides them
    each = gpus_each(spec.args) if isinstance(spec, VllmServe) else 1
    if len(known) < each * spec.replicas:
        if not isinstance(spec, VllmServe):
            return []  # llama.cpp's servers share what there is
        raise ServerError(
            f"{spec.replicas} replicas of {each} GPU{'s' if each > 1 else ''} each need "
            f"{each * spec.replicas}, and {len(known)} can be used here",
            target=target.id,
            remedy=f"lower serve.replicas, or set {DEVICES} in serve.env so that they share GPUs",
        )
    return [",".join(known[n * each : (n + 1) * each]) for n in range(spec.replicas)]


def gpus_each(args: Sequence[str]) -> int:
    """How many GPUs one of vLLM's servers takes, by its flags."""
    counts = dict(_PARALLEL)
    words = [word for arg in args for word in arg.split("=", 1)]
    for flag, value in itertools.pairwise(words):
        name = flag.replace("_", "-")
        if name in counts and re.fullmatch(r"\d+", value):
            counts[name] = int(value)
    product = 1
    for count in counts.values():
        product *= count
    return product
