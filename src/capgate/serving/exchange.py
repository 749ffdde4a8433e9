"""One request to a server and its response, for requests that do not ask its model.

The time-out covers everything from the connection to the last byte; the body's size is limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from capgate.client.bodies import REFUSAL_BYTES, read_body
from capgate.common.event_loop import in_own_loop
from capgate.common.proxies import proxy_for


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered.

    Attributes:
        status: HTTP status.
        headers: Its headers, whose names are looked up in any case.
        raw: Its body; empty if it was not read.
    """

    status: int
    headers: Mapping[str, str]
    raw: bytes


def exchange(
    method: str,
    url: str,
    *,
    limit: float,
    key: str = "",
    json: Mapping[str, Any] | None = None,
    body: bool = True,
) -> Response:
    """Sends a request and reads its response.

    Args:
        method: HTTP method.
        url: The URL.
        limit: Seconds until the response must be complete.
        key: The bearer token; if it is empty, the request carries none.
        json: The request's JSON.
        body: Whether to read the response's body.

    Raises:
        aiohttp.ClientError: There was no response, or its body was too large.
        OSError: There was no response, or it took too long (`TimeoutError`).
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def ask() -> Response:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limit)) as session,
            session.request(
                method, url, json=json, headers=headers, allow_redirects=False, proxy=proxy_for(url)
            ) as response,
        ):
            raw = await read_body(response, REFUSAL_BYTES) if body else b""
            if not body:
                response.close()
            return Response(response.status, response.headers, raw)

    return in_own_loop(ask)
