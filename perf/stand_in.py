"""A server that answers every chat request after the same time, for measurements.

    python -m perf.stand_in --latency 0.05

It prints its base URL and serves until it is ended. What it answers follows from the prompt alone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from typing import Any

from aiohttp import web

MODEL = "smollm2"
LATENCY = web.AppKey("latency", float)


async def chat(request: web.Request) -> web.Response:
    """Answers with a letter that follows from the last message."""
    asked: dict[str, Any] = json.loads(await request.read())
    text = asked["messages"][-1]["content"].encode()
    letter = "ABCD"[hashlib.blake2b(text, digest_size=1).digest()[0] % 4]
    await asyncio.sleep(request.app[LATENCY])
    message = {"role": "assistant", "content": f"ANSWER: {letter}"}
    return web.json_response(
        {
            "id": "chatcmpl-stand-in",
            "object": "chat.completion",
            "created": 1795471600,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105},
        }
    )


async def models(_: web.Request) -> web.Response:
    """Lists the one model."""
    entry = {"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 2048}
    return web.json_response({"object": "list", "data": [entry]})


async def version(_: web.Request) -> web.Response:
    """The version of vLLM whose form this has."""
    return web.json_response({"version": "0.32.0"})


async def health(_: web.Request) -> web.Response:
    """Says that it serves."""
    return web.Response()


async def serve(latency: float) -> None:
    """Serves on a free port until the process is ended."""
    app = web.Application(client_max_size=2**26)
    app[LATENCY] = latency
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/version", version)
    app.router.add_get("/health", health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serves with the latency that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.05, help="seconds (default 0.05)")
    asyncio.run(serve(parser.parse_args().latency))


if __name__ == "__main__":
    main()
