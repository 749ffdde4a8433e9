"""One attempt of a request: it is sent, and its response is read or becomes a `RequestFault`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from capgate import __version__
from capgate.client.bodies import LIST_BYTES, json_or_none, read_body
from capgate.client.exchange import fault_of_exception
from capgate.client.faults import CONNECTION_KINDS, Place, safe_url
from capgate.client.limits import ClientLimits
from capgate.client.replies import Completion, read_completion, read_cost
from capgate.client.responses import fault_of_response
from capgate.client.text_completions import ROUTES, PromptFormat
from capgate.common.errors import RequestFault
from capgate.common.proxies import is_loopback, proxy_for

GET_TIMEOUT: Final = 30.0
"""Seconds of a `GET`, unless the limits allow an attempt less."""

_UNSENT: Final = CONNECTION_KINDS - {"disconnected"} | {"tls"}
"""Faults of a request that never reached the server, so that it cost nothing."""

_REFUSALS: Final = frozenset(range(400, 500)) - {408}
"""Statuses of requests that a server refuses for nothing; any other failure may cost money."""


class Connection:
    """The connections to one server, opened anew in each event loop.

    Args:
        base_url: The API's root.
        target: Id of the target, for faults.
        model: The model's served name, for faults.
        key: The API key; sent as a bearer token, shown nowhere.
        limits: Times and counts.
        headers: Further headers of every request.
        prompt_format: Whether chats are asked for, or completions of a text.

    Attributes:
        base: The API's root, without credentials.
        root: The server's root.
        place: Who is asked for answers, for faults.
    """

    def __init__(
        self,
        base_url: str,
        *,
        target: str,
        model: str,
        key: str,
        limits: ClientLimits,
        headers: Mapping[str, str] | None,
        prompt_format: PromptFormat = "chat",
    ) -> None:
        self.base = safe_url(base_url).rstrip("/")
        self.root = self.base.removesuffix("/v1").removesuffix("/api")
        self.place = Place(target, f"{self.base}/{ROUTES[prompt_format]}", model, key)
        self._format = prompt_format
        self._limits = limits
        self._url = URL(self.place.url) if urlsplit(self.base).hostname else None
        self._headers = {"User-Agent": f"capgate/{__version__}", **(headers or {})}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._proxy = proxy_for(self.base)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, body: bytes, attempts: int, room: int, prompts: Mapping[str, str] | None = None
    ) -> Completion:
        """Asks for one answer, once.

        Args:
            body: The request's JSON.
            attempts: Attempts of this request, this one included.
            room: The most bytes that the answer may have.
            prompts: Where the likeliest choice is asked for: each choice, and the prompt that
                ends with it.

        Raises:
            RequestFault: There was no answer. Its `cost` says what the attempt cost.
        """
        started = time.perf_counter()
        try:
            if self._url is None:
                raise aiohttp.InvalidURL(self.place.url)
            async with self._open().post(
                self._url,
                data=body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                raw = await read_body(response, room)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            fault = fault_of_exception(self.place, error, limit=self._limits.attempt_timeout)
            fault.cost = 0.0 if fault.kind in _UNSENT else None
            raise fault from error
        try:
            if response.status == 200:
                return read_completion(
                    self.place,
                    200,
                    raw,
                    response.headers,
                    seconds=time.perf_counter() - started,
                    attempts=attempts,
                    prompt_format=self._format,
                    prompts=prompts,
                )
            raise fault_of_response(
                self.place, response.status, json_or_none(raw), raw, response.headers
            )
        except RequestFault as fault:
            fault.cost = read_cost(raw)
            if fault.cost is None and response.status in _REFUSALS:
                fault.cost = 0.0
            raise

    async def get(
        self, url: str, *, shown_as: str | None = None, limit: float = GET_TIMEOUT
    ) -> bytes:
        """Returns the body of a `GET`, sent once.

        Args:
            url: The URL.
            shown_as: The URL that a fault names; the same where None.
            limit: Seconds for the whole response.

        Raises:
            RequestFault: The response was not a 200.
        """
        place = replace(self.place, url=url if shown_as is None else shown_as)
        limit = min(limit, self._limits.attempt_timeout)
        try:
            async with self._open().get(
                url,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(total=limit),
            ) as response:
                raw = await read_body(response, LIST_BYTES)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise fault_of_exception(place, error, limit=limit) from error
        if response.status != 200:
            raise fault_of_response(
                place, response.status, json_or_none(raw), raw, response.headers
            )
        return raw

    async def aclose(self) -> None:
        """Closes this event loop's connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is not None:
            if self._loop is loop:
                return self._session
            # Its loop is closed: the sockets can't be closed in order, only dropped.
            self._session.detach()
        connector = aiohttp.TCPConnector(
            limit=self._limits.connections,
            # Below the 5 s after which uvicorn (vLLM) drops an idle connection, since a
            # request sent into a closing connection is lost.
            keepalive_timeout=4.0,
            ttl_dns_cache=60,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._limits.attempt_timeout, sock_connect=self._limits.connect_timeout
            ),
            skip_auto_headers=("Accept-Encoding",) if is_loopback(self.base) else (),
        )
        self._loop = loop
        return self._session
