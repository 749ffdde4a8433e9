"""Short ways to ask a real server in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.doubles.server import Server

from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import Completion
from capgate.common.errors import RequestFault

KEY = "sk-canary-0123456789abcdef"
REQUEST = {"model": "lora-a", "messages": [{"role": "user", "content": "2+2=?"}]}
QUICK = {"backoff": 0.001, "backoff_cap": 0.01, "first_patience": 0.3, "patience": 0.3}

Ask = Callable[..., Completion]


@pytest.fixture
def ask(server: Server) -> Ask:
    """Asks the server once, with quick limits that keywords replace."""

    def once(**limits: float) -> Completion:
        return asyncio.run(ask_at(server.url, **limits))

    return once


async def ask_at(url: str, **limits: float) -> Completion:
    """Asks one question with a client of its own."""
    async with client_of(url, **limits) as client:
        return await client.complete(REQUEST)


def client_of(url: str, **limits: float) -> Client:
    """Returns a client with quick limits that keywords replace."""
    return Client(
        url,
        target="my-target",
        model="lora-a",
        key=KEY,
        limits=ClientLimits(**(QUICK | limits)),  # type: ignore[arg-type]
    )


def complete_text(server: Server, **further: object) -> Completion:
    """Asks for a completion; keywords are further members of the chat request."""
    client = Client(
        server.url,
        target="my-target",
        model="base",
        key=KEY,
        limits=ClientLimits(**QUICK),  # type: ignore[arg-type]
        max_tokens_field="max_completion_tokens",
        prompt_format="completion",
    )

    async def ask() -> Completion:
        async with client:
            return await client.complete({**REQUEST, **further})

    return asyncio.run(ask())


def fault_of_asking(ask: Ask, **limits: float) -> RequestFault:
    """Returns the fault that asking ends with."""
    with pytest.raises(RequestFault) as caught:
        ask(**limits)
    return caught.value
