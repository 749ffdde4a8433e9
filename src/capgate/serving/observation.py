"""Observes the weights of a running server when a run first reaches it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Final

import httpx

from capgate.client.faults import CONNECTION_KINDS
from capgate.common.errors import RequestFault
from capgate.common.event_loop import in_own_loop
from capgate.common.proxies import proxy_for
from capgate.config.targets import Target
from capgate.serving.ask_signature import ask_signature
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines.weights import folder_digest, youngest
from capgate.serving.signature import Observation

_STARTED: Final = re.compile(rb"^process_start_time_seconds(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_METRICS_SECONDS: Final = 5.0
_METRICS_BYTES: Final = 4 << 20


def observe(target: Target, endpoint: Endpoint) -> Observation:
    """Observes which weights a server has.

    Args:
        target: Its target.
        endpoint: Where it answers.

    Raises:
        RequestFault: The server is out of reach, or does not accept the key.
    """
    at = time.time()
    started = process_start(endpoint)
    weights = _weights_of(str(endpoint.identity.get("root") or ""), started)
    try:
        signature = in_own_loop(lambda: ask_signature(endpoint, fields_of(target, endpoint)))
    except RequestFault as fault:
        if fault.kind in CONNECTION_KINDS or fault.kind in {"unauthorized", "forbidden"}:
            raise
        return Observation(at, None, started, weights, fault=str(fault))
    return Observation(at, signature, started, weights)


def fields_of(target: Target, endpoint: Endpoint) -> dict[str, Any]:
    """The members of a target's requests that its observation must have as well."""
    own = {name: value for name, value in target.extra_body.items() if name != "logprobs"}
    return endpoint.engine_fields | own


def process_start(endpoint: Endpoint) -> float | None:
    """When a server's process started, Unix seconds; None if `/metrics` does not say."""
    url = f"{endpoint.base_url.rstrip('/').removesuffix('/v1')}/metrics"
    read, proxy = b"", proxy_for(url)
    # To read the certificates of all authorities takes longer than to ask, and http needs none.
    verify = not (url.startswith("http://") and proxy is None)
    try:
        with (
            httpx.Client(
                timeout=_METRICS_SECONDS, trust_env=False, proxy=proxy, verify=verify
            ) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != 200:
                return None
            for part in answer.iter_bytes():
                read += part
                if len(read) > _METRICS_BYTES:
                    break
        found = _STARTED.search(read)
        return float(found[1]) if found else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


def _weights_of(root: str, started: float | None) -> str:
    """Hash of the folder that a server says it serves; `""` if that can not be checked."""
    path = Path(root)
    try:
        if not (path.is_absolute() and path.is_dir()):
            return ""
        if started is not None and youngest(path) > started:
            # Files changed after the server had read them.
            return ""
        return folder_digest(path)
    except OSError:
        return ""
