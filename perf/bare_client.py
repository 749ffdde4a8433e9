"""A bare client, with no harness around it: puts the same prompts to each model of a server.

    python perf/bare_client.py aiohttp|AsyncOpenAI URL KEY PROMPTS CONNECTIONS MODELS SALT TOKENS

PROMPTS is a file with the messages of one request in each line, as JSON; MODELS a JSON list. The
models are asked one after the other; SALT keeps the server from using another run's prefix cache.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from openai import AsyncOpenAI

Ask = Callable[[str, list[Any]], Awaitable[None]]


@dataclass(frozen=True)
class Task:
    """What is asked.

    Attributes:
        url: The API's root.
        key: The server's key.
        prompts: The messages of each request.
        connections: Most requests in flight.
        models: The models' names.
        salt: vLLM's `cache_salt`.
        tokens: Most tokens of an answer.
    """

    url: str
    key: str
    prompts: list[list[Any]]
    connections: int
    models: list[str]
    salt: str
    tokens: int

    async def put(self, ask: Ask) -> None:
        """Puts every prompt to each model."""
        free = asyncio.Semaphore(self.connections)

        async def one(model: str, messages: list[Any]) -> None:
            async with free:
                await ask(model, messages)

        for model in self.models:
            await asyncio.gather(*(one(model, messages) for messages in self.prompts))


async def with_openai(task: Task) -> None:
    """Asks through the `openai` package."""
    client = AsyncOpenAI(base_url=task.url, api_key=task.key, max_retries=0, timeout=300)

    async def ask(model: str, messages: list[Any]) -> None:
        await client.chat.completions.create(
            model=model,
            messages=messages,
            max_tokens=task.tokens,
            temperature=0,
            extra_body={"cache_salt": task.salt},
        )

    await task.put(ask)


async def with_aiohttp(task: Task) -> None:
    """Posts the requests as they are."""
    headers = {"Authorization": f"Bearer {task.key}", "Content-Type": "application/json"}
    fields = {"max_tokens": task.tokens, "temperature": 0, "cache_salt": task.salt}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask(model: str, messages: list[Any]) -> None:
            body = json.dumps({"model": model, "messages": messages, **fields})
            async with session.post(f"{task.url}/chat/completions", data=body) as reply:
                reply.raise_for_status()
                await reply.read()

        await task.put(ask)


def main() -> None:
    """Asks, as the command line says."""
    which, url, key, prompts, connections, models, salt, tokens = sys.argv[1:]
    lines = Path(prompts).read_text(encoding="utf-8").splitlines()
    task = Task(
        url,
        key,
        [json.loads(line) for line in lines],
        int(connections),
        json.loads(models),
        salt,
        int(tokens),
    )
    clients = {"aiohttp": with_aiohttp, "AsyncOpenAI": with_openai}
    asyncio.run(clients[which](task))


if __name__ == "__main__":
    main()
