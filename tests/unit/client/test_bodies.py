"""No response can take more than its share of memory, whatever a server sends."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.doubles.flood import FAILED, GZIPPED, OK, Flood, bomb, chunk
from tests.doubles.server import Server
from tests.unit.client.conftest import REQUEST, client_of

from capgate.client.bodies import ANSWER_BYTES, LIST_BYTES, REFUSAL_BYTES, answer_room
from capgate.client.client import Client
from capgate.common.errors import RequestFault
from capgate.serving.adapters.lora_requests import unload
from capgate.serving.endpoint import Endpoint
from capgate.serving.exchange import exchange
from capgate.serving.openrouter import ask_offer

SOCKETS = 16 << 20
"""More bytes than two sockets keep for each other."""

Ask = Callable[[Client], Awaitable[object]]
ASKS: dict[str, tuple[Ask, int]] = {
    "answer": (lambda client: client.complete(REQUEST), ANSWER_BYTES),
    "models": (lambda client: client.models(), LIST_BYTES),
    "offer": (lambda client: ask_offer(client, "a/b", None), LIST_BYTES),
    "version": (lambda client: client.version(), LIST_BYTES),
}


def fault_of(url: str, ask: Ask, **limits: Any) -> RequestFault:  # noqa: ANN401
    """What asking ends with."""

    async def once() -> object:
        async with client_of(url, max_retries=3, **limits) as client:
            return await ask(client)

    with pytest.raises(RequestFault) as caught:
        asyncio.run(once())
    return caught.value


@pytest.mark.parametrize(("ask", "limit"), ASKS.values(), ids=ASKS)
def test_an_endless_good_response_is_a_fault(ask: Ask, limit: int) -> None:
    """It is read up to its bound, once, and the fault shows how it began."""
    with Flood(OK + b"\r\n" + chunk(b"begun so"), chunk(b" " * 65_536)) as flood:
        fault = fault_of(flood.url, ask)
        assert flood.sent < limit + SOCKETS
        assert flood.connections == 1
    assert (fault.kind, fault.status, fault.attempts) == ("too_large", 200, 1)
    assert f"larger than {limit >> 20} MiB" in fault.what
    assert fault.said.startswith("begun so")


@pytest.mark.parametrize(("ask", "limit"), ASKS.values(), ids=ASKS)
def test_what_is_compressed_is_bounded_as_it_is_read(ask: Ask, limit: int) -> None:
    """What is small on the way and becomes 256 MiB never is so much in memory."""
    with Flood(OK + GZIPPED + b"\r\n" + bomb()) as flood:
        tracemalloc.start()
        try:
            fault = fault_of(flood.url, ask)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert fault.kind == "too_large"
    assert most < 4 * limit


def test_of_an_endless_refusal_the_beginning_is_read() -> None:
    """Its status says what it is; the rest is not waited for."""
    said = chunk(b'{"error": {"message": "out of memory"' + b" " * 65_536)
    with Flood(FAILED + b"\r\n" + said, chunk(b" " * 65_536)) as flood:
        fault = fault_of(flood.url, ASKS["models"][0])
        assert flood.sent < flood.connections * (REFUSAL_BYTES + SOCKETS)
    assert (fault.kind, fault.status) == ("server_error", 500)
    assert "out of memory" in fault.said


def test_endless_headers_are_a_fault() -> None:
    """A server that never comes to its body does not fill the memory."""
    with Flood(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"y" * 4_000 + b"\r\n") as flood:
        fault = fault_of(flood.url, ASKS["answer"][0])
        assert flood.sent < SOCKETS
    assert fault.kind == "not_json"


@pytest.mark.parametrize("begins", [b"HTTP/1.1 200 OK\r\n", OK + b"\r\n"], ids=["head", "body"])
def test_a_trickle_does_not_outlast_an_attempt(begins: bytes) -> None:
    """The time-out is the whole attempt's, however often a byte comes."""
    piece = chunk(b" ") if begins.startswith(OK) else b"X: y\r\n"
    with Flood(begins, piece, pause=0.02) as flood:
        fault = fault_of(flood.url, ASKS["models"][0], attempt_timeout=0.3)
    assert (fault.kind, fault.attempts) == ("timeout", 4)


def test_log_probabilities_come_on_top() -> None:
    """An answer may have as many bytes as its tokens' log-probabilities need."""
    assert answer_room({"max_tokens": 100_000}) == ANSWER_BYTES
    asked = {"max_tokens": 1_000, "logprobs": True, "top_logprobs": 20}
    assert answer_room(asked) == ANSWER_BYTES + 1_000 * 21 * 256


def test_ordinary_answers_are_as_they_were(server: Server) -> None:
    """One of some megabytes is still an answer."""
    server.answer = lambda _: "x" * 3_000_000 + "ANSWER: B"

    async def once() -> str:
        async with client_of(server.url) as client:
            return (await client.complete(REQUEST)).text

    assert len(asyncio.run(once())) == 3_000_009


def test_what_is_asked_beside_the_model_is_bounded_too() -> None:
    """Loading, unloading and health checks."""
    endless = chunk(b" " * 65_536)
    with Flood(OK + b"\r\n", endless) as flood:
        endpoint = Endpoint("t", flood.url, "m", "vllm", {})
        with pytest.raises(RequestFault) as caught:
            unload(endpoint, "mine")
        assert caught.value.kind == "too_large"
        assert exchange("GET", f"{flood.root}/health", limit=5.0, body=False).status == 200
        assert flood.sent < flood.connections * SOCKETS
    with Flood(OK + b"\r\n", chunk(b" "), pause=0.02) as flood, pytest.raises(TimeoutError):
        exchange("GET", f"{flood.root}/health", limit=0.3)
