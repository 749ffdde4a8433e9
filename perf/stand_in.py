"""A server that answers chat requests after a set time, for measurements.

    python -m perf.stand_in --latency 0.05                # each after 50 ms
    python -m perf.stand_in --batching 20 0.25 256 8      # as a server that batches continuously
    python -m perf.stand_in --port 8000 --adapters        # with adapters, as vLLM has them

It prints its base URL and serves until it is ended. What it answers follows from the prompt, and
of an adapter from its name as well (`perf.stand_in_adapters`). `GET /stats` tells how busy it was.

It speaks just enough HTTP for the clients that are measured, and its answers are made beforehand:
it shares the machine with them, so its own CPU time must be small beside theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol
from zlib import crc32

MODEL: Final = "smollm2"

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_CHAT: Final = b"POST /v1/chat/completions "


def response(body: object, status: str = "200 OK") -> bytes:
    """The bytes of a response with JSON."""
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}"
    return head.encode() + _END + raw


def answer_of(letter: str) -> bytes:
    """The response that says a letter."""
    message = {"role": "assistant", "content": f"ANSWER: {letter}"}
    return response(
        {
            "id": "chatcmpl-stand-in",
            "object": "chat.completion",
            "created": 1795471600,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105},
        }
    )


ANSWERS: Final = [answer_of(letter) for letter in "ABCD"]
_ENTRY: Final = {"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 2048}
GETS: Final = {
    b"GET /v1/models": response({"object": "list", "data": [_ENTRY]}),
    b"GET /version": response({"version": "0.32.0"}),
    b"GET /health": response({}),
}
NOT_FOUND: Final = response({"detail": "Not Found"}, "404 Not Found")


class Pace(Protocol):
    """When a request is answered."""

    def later(self, answer: Callable[[], None]) -> None:
        """Calls `answer` when its time has come."""


@dataclass
class Steady:
    """Each request takes the same time, however many there are.

    Attributes:
        latency: Seconds from a request's last byte to its answer.
    """

    latency: float

    def later(self, answer: Callable[[], None]) -> None:
        """Calls `answer` after the latency."""
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, answer)
        else:
            answer()


@dataclass
class Batching:
    """Requests share steps, as where a server batches continuously: each step adds a token to each.

    A step takes the longer, the more requests it has, so the server's rate grows with their number
    up to `slots / (tokens * (step + each * slots))`. Requests beyond the slots wait.

    Attributes:
        step: Seconds of a step by itself.
        each: Seconds that each request adds to it.
        slots: Most requests of a step.
        tokens: Steps that an answer takes on average, 1 at least; few take several times as many.
    """

    step: float
    each: float
    slots: int
    tokens: int
    _waiting: deque[Callable[[], None]] = field(default_factory=deque)
    _running: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    _random: Random = field(default_factory=lambda: Random(0))
    _steps: int = 0
    _task: asyncio.Task[None] | None = None

    def later(self, answer: Callable[[], None]) -> None:
        """Calls `answer` after as many steps as it has tokens."""
        self._waiting.append(answer)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        due = time.monotonic()
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self.slots:
                steps = 1 + round(self._random.expovariate(1.0) * (self.tokens - 1))
                self._running.append((self._steps + steps, self._waiting.popleft()))
            due += self.step + self.each * len(self._running)
            await asyncio.sleep(due - time.monotonic())
            self._steps += 1
            done = [answer for last, answer in self._running if last <= self._steps]
            self._running = [one for one in self._running if one[0] > self._steps]
            for answer in done:
                answer()


@dataclass
class Busy:
    """How busy the server was.

    Attributes:
        questions: Chat requests that were answered.
        in_flight: Those that are not answered yet.
        seconds: Time with at least one in flight.
    """

    questions: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    _since: float = 0.0

    def begin(self) -> None:
        """Notes that a request came."""
        if not self.in_flight:
            self._since = time.monotonic()
        self.in_flight += 1

    def end(self) -> None:
        """Notes that one was answered."""
        self.in_flight -= 1
        self.questions += 1
        if not self.in_flight:
            self.seconds += time.monotonic() - self._since

    def told(self) -> dict[str, float]:
        """What `/stats` says."""
        running = time.monotonic() - self._since if self.in_flight else 0.0
        return {"questions": self.questions, "busy": self.seconds + running}


class StandIn(asyncio.Protocol):
    """One connection.

    Args:
        pace: When a request is answered.
        busy: Counts the requests of all connections.
    """

    def __init__(self, pace: Pace, busy: Busy) -> None:
        self._pace = pace
        self._busy = busy
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
            self._take(head, received[start : start + length])
            received = received[start + length :]
        self._received = received

    def _take(self, head: bytes, body: bytes) -> None:
        if not head.startswith(_CHAT):
            self._transport.write(self.other(head.split(b" HTTP/", 1)[0], body))
            return
        answer = self.chat(body)
        self._busy.begin()

        def give() -> None:
            self._busy.end()
            self._transport.write(answer)

        self._pace.later(give)

    def chat(self, body: bytes) -> bytes:
        """The response to a chat request."""
        # The last message stands after the last mark; settings may come before or behind it.
        return ANSWERS[crc32(body[body.rfind(b'"content"') :]) % len(ANSWERS)]

    def other(self, request: bytes, _: bytes) -> bytes:
        """The response to another request, such as `GET /version`."""
        if request == b"GET /stats":
            return response(self._busy.told())
        return GETS.get(request, NOT_FOUND)


async def serve(make: Callable[[], StandIn], port: int = 0) -> None:
    """Serves on a port, any free one by default, until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves at the pace that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.05, help="seconds (default 0.05)")
    parser.add_argument(
        "--batching",
        nargs=4,
        type=float,
        metavar=("STEP", "EACH", "SLOTS", "TOKENS"),
        help="milliseconds of a step and of each request in it, most requests, tokens of an answer",
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--adapters", action="store_true", help="load adapters, as vLLM does")
    options = parser.parse_args()
    pace: Pace = Steady(options.latency)
    if options.batching:
        step, each, slots, tokens = options.batching
        pace = Batching(step / 1000, each / 1000, int(slots), int(tokens))
    busy = Busy()
    make: Callable[[], StandIn] = lambda: StandIn(pace, busy)  # noqa: E731
    if options.adapters:
        from perf.stand_in_adapters import WithAdapters

        adapters: dict[str, str] = {}
        make = lambda: WithAdapters(pace, busy, adapters)  # noqa: E731
    asyncio.run(serve(make, options.port))


if __name__ == "__main__":
    main()
