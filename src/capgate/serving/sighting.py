"""What a run sees of a server's weights when it comes to it, kept beside the answers."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from capgate.client.faults import CONNECTION_KINDS
from capgate.common.errors import RequestFault
from capgate.common.event_loop import in_own_loop
from capgate.common.proxies import proxy_for
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.engines.weights import folder_digest, youngest
from capgate.serving.signature import Signature, difference, look

_STARTED: Final = re.compile(rb"^process_start_time_seconds(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_METRICS_SECONDS: Final = 5.0
_METRICS_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of a server's weights when a run came to it.

    Attributes:
        at: When, Unix seconds.
        signature: Its answers to the prompts; None where it did not answer them.
        started: When its process started, Unix seconds, where it says.
        weights: Hash of the folder that it serves, where this machine can read that and nothing
            in it is younger than the process.
        fault: Why there is no signature.
    """

    at: float
    signature: Signature | None = None
    started: float | None = None
    weights: str = ""
    fault: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the store."""
        return {
            "signature": None if self.signature is None else self.signature.to_dict(),
            "started": self.started,
            "weights": self.weights,
        }

    def change_since(self, then: Mapping[str, Any]) -> str:
        """What shows that other weights answer now, as a clause; `""` where the same do.

        Args:
            then: An earlier sighting, as `to_dict` gives it.
        """
        try:
            earlier = then["signature"] and Signature.from_dict(then["signature"])
            weights, started = str(then["weights"]), then["started"]
        except (KeyError, TypeError, ValueError):
            earlier = None
            weights, started = "", None
        if self.signature is None or earlier is None:
            return "there is nothing to compare its answers to the proof's prompts with"
        if self.weights and weights and self.weights != weights:
            return "the files of its weights are others"
        clause = difference(self.signature, earlier)
        if clause and started and self.started and self.started != started:
            clause += "; it was started anew meanwhile"
        return clause


def sight(target: Target, endpoint: Endpoint) -> Sighting:
    """Looks at a server's weights.

    Args:
        target: Its target.
        endpoint: Where it answers.

    Raises:
        RequestFault: It is out of reach, or does not accept the key.
    """
    at = time.time()
    started = process_start(endpoint)
    weights = _weights_of(str(endpoint.identity.get("root") or ""), started)
    try:
        signature = in_own_loop(lambda: look(endpoint, fields_of(target, endpoint)))
    except RequestFault as fault:
        if fault.kind in CONNECTION_KINDS or fault.kind in {"unauthorized", "forbidden"}:
            raise
        return Sighting(at, None, started, weights, fault=str(fault))
    return Sighting(at, signature, started, weights)


def fields_of(target: Target, endpoint: Endpoint) -> dict[str, Any]:
    """What a target's requests have beside the prompt, and the proof's must have too."""
    fields = {name: value for name, value in target.extra_body.items() if name != "logprobs"}
    if endpoint.engine == "llamacpp":
        # A reused prompt cache changes temperature-0 answers from run to run.
        fields.setdefault("cache_prompt", False)
    return fields


def process_start(endpoint: Endpoint) -> float | None:
    """When a server's process started, Unix seconds; None where `/metrics` does not say."""
    url = f"{endpoint.base_url.rstrip('/').removesuffix('/v1')}/metrics"
    read = b""
    try:
        with (
            httpx.Client(timeout=_METRICS_SECONDS, trust_env=False, proxy=proxy_for(url)) as client,
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
    """Hash of the folder that a server says it serves; `""` where that is not known to be so."""
    path = Path(root)
    try:
        if not (path.is_absolute() and path.is_dir()):
            return ""
        if started is not None and youngest(path) > started:
            # It was changed after the server had read it.
            return ""
        return folder_digest(path)
    except OSError:
        return ""
