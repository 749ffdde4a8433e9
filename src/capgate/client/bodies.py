"""The bodies of responses, read up to a bound that holds after they are decompressed.

A server can send without end, or a megabyte that becomes a gigabyte. aiohttp decompresses a
piece at a time and waits until that is read, so that no more than a bound is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import aiohttp
from pydantic_core import from_json

ANSWER_BYTES: Final = 4 << 20
"""Bytes of an answer; its log-probabilities, where asked for, come on top."""

LOGPROB_BYTES: Final = 256
"""Bytes of one token's log-probability; vLLM and OpenAI write about 100."""

LIST_BYTES: Final = 8 << 20
"""Bytes of a list; OpenRouter's list of all models has less than one million."""

REFUSAL_BYTES: Final = 64 << 10
"""Bytes that are read of a response that is no answer; what follows is left out."""

_BEGINNING: Final = 2_000


class BodyTooLargeError(aiohttp.ClientError):
    """A good response whose body passes its bound.

    Attributes:
        limit: The bound in bytes.
        begins: How the body begins.
    """

    def __init__(self, limit: int, begins: bytes) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit
        self.begins = begins


def answer_room(request: Mapping[str, Any]) -> int:
    """Bytes that the answer to a chat request may have.

    Args:
        request: The request's JSON object.
    """
    if not request.get("logprobs"):
        return ANSWER_BYTES
    tokens = request.get("max_completion_tokens") or request.get("max_tokens") or 0
    each = 1 + (request.get("top_logprobs") or 0)
    return ANSWER_BYTES + int(tokens) * int(each) * LOGPROB_BYTES


def echo_room(prompts: Iterable[str]) -> int:
    """Bytes that an echo of prompts with their log-probabilities may have.

    A token has a byte of the prompt at least. Servers list each token with the likeliest one,
    and vLLM lists both twice.
    """
    return ANSWER_BYTES + sum(len(prompt.encode()) for prompt in prompts) * 4 * LOGPROB_BYTES


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Reads a response's body; of one whose status is not 200, the beginning.

    Raises:
        BodyTooLargeError: A good response has more bytes than `limit`.
        aiohttp.ClientError: The connection broke.
    """
    good = response.status == 200
    most = limit if good else REFUSAL_BYTES
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most:
            # What still comes is not waited for.
            response.close()
            if good:
                raise BodyTooLargeError(limit, bytes(body[:_BEGINNING]))
            del body[most:]
            break
    return bytes(body)


def json_or_none(raw: bytes) -> object:
    """A body's JSON; None where it is none, or nested too deep."""
    try:
        body: object = from_json(raw)
    except ValueError:
        return None
    return body
