"""Which proxy a URL is asked through."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine."""
    return (urlsplit(url).hostname or "") in {"127.0.0.1", "localhost", "::1"}


def proxy_for(url: str) -> str | None:
    """Returns the environment's proxy for `url`; a server on this machine has none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or is_loopback(url) or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
