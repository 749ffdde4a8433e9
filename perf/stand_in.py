"""A server that answers every chat request after the same time, for measurements.

    python -m perf.stand_in --latency 0.05

It prints its base URL and serves until it is ended. What it answers follows from the prompt alone.

It speaks just enough HTTP for the clients that are measured, and its answers are made beforehand:
it shares the machine with them, so its own CPU time must be small beside theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Final
from zlib import crc32

MODEL: Final = "smollm2"

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_CHAT: Final = b"POST /v1/chat/completions "


def _response(body: object, status: str = "200 OK") -> bytes:
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}"
    return head.encode() + _END + raw


def _answer(letter: str) -> bytes:
    message = {"role": "assistant", "content": f"ANSWER: {letter}"}
    return _response(
        {
            "id": "chatcmpl-stand-in",
            "object": "chat.completion",
            "created": 1795471600,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105},
        }
    )


_ANSWERS: Final = [_answer(letter) for letter in "ABCD"]
_ENTRY: Final = {"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 2048}
_GETS: Final = {
    b"GET /v1/models": _response({"object": "list", "data": [_ENTRY]}),
    b"GET /version": _response({"version": "0.32.0"}),
    b"GET /health": _response({}),
}
_NOT_FOUND: Final = _response({"detail": "Not Found"}, "404 Not Found")


class StandIn(asyncio.Protocol):
    """One connection.

    Args:
        latency: Seconds from a request's last byte to its answer.
    """

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each request that is complete."""
        received = self._received + data if self._received else data
        while (end := received.find(_END)) >= 0:
            start = end + len(_END)
            head = received[:end]
            if head.startswith(b"POST"):
                at = head.lower().find(_LENGTH)
                if at < 0:
                    self._transport.close()  # Sent in chunks, which no measured client does.
                    return
                length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
            else:
                length = 0
            if len(received) < start + length:
                break
            self._answer(head, received[start : start + length])
            received = received[start + length :]
        self._received = received

    def _answer(self, head: bytes, body: bytes) -> None:
        if not head.startswith(_CHAT):
            request = head.split(b" HTTP/", 1)[0]
            self._transport.write(_GETS.get(request, _NOT_FOUND))
            return
        # The last message stands after the last mark; settings may come before or behind it.
        answer = _ANSWERS[crc32(body[body.rfind(b'"content"') :]) % len(_ANSWERS)]
        if self._latency:
            self._loop.call_later(self._latency, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def serve(latency: float) -> None:
    """Serves on a free port until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StandIn(latency), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves with the latency that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.05, help="seconds (default 0.05)")
    asyncio.run(serve(parser.parse_args().latency))


if __name__ == "__main__":
    main()
