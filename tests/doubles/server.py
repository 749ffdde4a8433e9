"""A real HTTP server that behaves as it is told: chat completions, and completions of a text.

In a test, in a thread of its own:

    with Server() as server:
        server.script(replies.RATE_LIMITED, replies.answer("ANSWER: A"))
        Client(server.url, target="t")

As a process, for measurements; it prints its base URL and serves until it is ended:

    python -m tests.doubles.server --latency 0.05
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from tests.doubles.replies import NO_TEMPLATE, UNAUTHORIZED, Handler, Reply, completion
from tests.doubles.text_form import as_chat, as_text

from capgate.serving.signature import FURTHER, PROMPTS

Answerer = Callable[[dict[str, Any]], str]


@dataclass
class Asked:
    """One request as it arrived.

    Attributes:
        method: Its method.
        path: Its path.
        headers: Its headers.
        body: Its JSON, or an empty object.
        at: When, in monotonic seconds.
        raw: Its body as it came.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0
    raw: bytes = b""


def hashed_answer(asked: dict[str, Any]) -> str:
    """Returns a letter that follows from the last message alone."""
    text = asked["messages"][-1]["content"].encode()
    return f"ANSWER: {'ABCD'[hashlib.blake2b(text, digest_size=1).digest()[0] % 4]}"


def is_proof(asked: dict[str, Any]) -> bool:
    """Whether a request is one of those by which weights are known again."""
    return as_chat(asked)["messages"][-1]["content"] in PROMPTS + FURTHER


class Server:
    """The double; a context manager that serves while it is entered.

    What it writes to the prompts of the proof follows from `weights` alone: no script and no
    answerer is asked for them.

    Args:
        models: Names that `/v1/models` lists.
        key: The bearer token that `/v1` asks for; any is taken where empty.
        answer: What the model writes to a request.
        latency: Seconds before a chat's answer.
        models_reply: What it answers to `GET /v1/models` instead of a list. `other_reply` may be
            set to what it answers to paths that it does not know.
        weights: Which weights it serves.
        keeps: Whether the requests that arrive are kept in `asked`.
        template: Whether the model has a chat template; without one it answers no chats.
    """

    def __init__(
        self,
        *,
        models: tuple[str, ...] = ("smollm2",),
        key: str = "",
        answer: Answerer = hashed_answer,
        latency: float = 0.0,
        models_reply: Handler | None = None,
        weights: str = "first",
        keeps: bool = True,
        template: bool = True,
    ) -> None:
        self._keeps = keeps
        self.template = template
        self.models = models
        self.models_reply = models_reply
        self.other_reply: Handler | None = None
        self.key = key
        self.answer = answer
        self.latency = latency
        self.weights = weights
        self.port = 0
        self.asked: list[Asked] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._script: Iterator[Handler] = iter(())
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._kept_port: socket.socket | None = None

    @property
    def url(self) -> str:
        """The API's root."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[Asked]:
        """The chat requests that arrived, without those of the proof."""
        return [asked for asked in self._chats() if not is_proof(asked.body)]

    @property
    def proofs(self) -> list[Asked]:
        """The chat requests that arrived with a prompt of the proof."""
        return [asked for asked in self._chats() if is_proof(asked.body)]

    def _chats(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.path.endswith("/chat/completions")]

    @property
    def texts(self) -> list[Asked]:
        """The requests for a completion that arrived, without those of the proof."""
        return [
            asked
            for asked in self.asked
            if asked.path.endswith("/v1/completions") and not is_proof(asked.body)
        ]

    def script(self, *handlers: Handler, forever: Handler | None = None) -> None:
        """Answers the next chat requests by `handlers`, one each.

        Args:
            handlers: What to do, in order.
            forever: What to do after them; a good answer where None.
        """
        with self._lock:
            rest = itertools.repeat(forever) if forever else ()
            self._script = itertools.chain(handlers, rest)

    def start(self) -> None:
        """Serves, on the same port as the last time."""
        self._free_port()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        """Refuses connections from now on, and ends those that are open.

        The port stays this server's: a server of another test that runs at the same time could
        get it otherwise, and would answer in its place.
        """
        assert self._loop is not None
        assert self._ended is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)
        with self._lock:
            if self._kept_port is None:
                self._kept_port = socket.socket()
                self._kept_port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._kept_port.bind(("127.0.0.1", self.port))

    def _free_port(self) -> None:
        if self._kept_port is not None:
            self._kept_port.close()
            self._kept_port = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None and self._thread.is_alive():
            self.stop()
        self._free_port()

    def app(self) -> web.Application:
        """Returns the routes."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.text)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_route("*", "/{rest:.*}", self._nothing)
        return app

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._ended.wait()
        await runner.cleanup()

    def _note(
        self, request: web.Request, body: dict[str, Any] | None = None, raw: bytes = b""
    ) -> None:
        if not self._keeps:
            return
        headers, now = dict(request.headers), time.monotonic()
        self.asked.append(Asked(request.method, request.path, headers, body or {}, now, raw))

    def _refused(self, request: web.Request) -> bool:
        return bool(self.key) and request.headers.get("Authorization") != f"Bearer {self.key}"

    async def chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        self._note(request, body, raw)
        if self._refused(request):
            return await UNAUTHORIZED(request, body)
        if not self.template and "messages" in body:
            return await NO_TEMPLATE(request, body)
        body = as_chat(body)
        if is_proof(body):
            said = f"{self.weights} of {body.get('model')}: {body['messages'][-1]['content']}"
            return web.json_response(completion(said) | {"model": body.get("model", "")})
        with self._lock:
            handler = next(self._script, None)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            if handler is not None:
                return await handler(request, body)
            reply = completion(self.answer(body)) | {"model": body.get("model", "")}
            return web.Response(body=json.dumps(reply).encode(), content_type="application/json")
        finally:
            self.in_flight -= 1

    async def text(self, request: web.Request) -> web.StreamResponse:
        """Answers a request for a completion as the same chat would be answered."""
        asked = json.loads(await request.read())
        answered = await self.chat(request)
        assert isinstance(answered, web.Response)
        if answered.status != 200 or not isinstance(answered.body, bytes):
            return answered
        reply = json.loads(answered.body)
        if reply.get("object") == "text_completion":
            return answered
        return web.json_response(as_text(reply, asked))

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if self._refused(request):
            return await UNAUTHORIZED(request, {})
        if self.models_reply is not None:
            return await self.models_reply(request, {})
        data = [
            {
                "id": name,
                "object": "model",
                "created": 1795471600,
                "owned_by": "vllm",
                "root": f"models/{name}",
                "parent": None if at == 0 else self.models[0],
                "max_model_len": 2048 if at == 0 else None,
            }
            for at, name in enumerate(self.models)
        ]
        return web.json_response({"object": "list", "data": data})

    async def _health(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        return web.Response()

    async def _version(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        return web.json_response({"version": "0.32.0"})

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if self.other_reply is not None:
            return await self.other_reply(request, {})
        return await Reply(404, {"detail": "Not Found"})(request, {})


def answer(text: str | None, **changes: object) -> Reply:
    """Returns a good answer; `changes` go into its choice."""
    return Reply(200, completion(text, **changes))


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds (default 0.05)")
    parser.add_argument("--model", action="append", help="name to list (repeatable)")
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    server = Server(
        models=tuple(options.model or ["smollm2"]),
        key=options.key,
        latency=options.latency,
        # A long measurement sends more requests than memory holds.
        keeps=False,
    )
    server.port = options.port
    with server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
