"""The names of rows: no two machines give the same name to different rows.

So stores that were written apart can be put together. A row that stands in two of them has one
name, and is one row. Ids sort by time: the later one of two answers is the newer one.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from typing import Final

_TIME: Final = 7
"""Bytes of an answer's id that are its time, in microseconds since 1970."""

_RANDOM: Final = 5
"""Bytes of it that are random. Ids of the same microsecond agree once in 10¹²."""


class AnswerIds:
    """Makes the ids of answers, each greater than those before it in this process."""

    def __init__(self) -> None:
        self._last = 0
        self._making = threading.Lock()

    def new(self, created: float) -> bytes:
        """The id of a new answer, 12 bytes.

        Args:
            created: When the answer came, Unix seconds. A clock that was set back is put right.
        """
        with self._making:
            self._last = max(round(created * 1e6), self._last + 1)
            return self._last.to_bytes(_TIME, "big") + secrets.token_bytes(_RANDOM)


def migrated_id(number: int, created: float, latest: float, *content: object) -> bytes:
    """The id of an answer that an earlier version numbered; the same in each copy of its store.

    Args:
        number: Its number there.
        created: When it came, Unix seconds.
        latest: When the latest answer up to that number came: ids keep the numbers' order.
        content: What else tells it from others.
    """
    return b"".join(
        [
            round(latest * 1e6).to_bytes(_TIME, "big"),
            (number % 2**32).to_bytes(4, "big"),
            _digest(number, created, *content)[:5],
        ]
    )


def context_id(fingerprint: str, prompt: str) -> bytes:
    """The id of a context, 12 bytes."""
    return _digest(fingerprint, prompt)[:12]


def sighting_id(server: str, weights: str, run: str, at: float) -> bytes:
    """The id of a sighting, 12 bytes."""
    return _digest(server, weights, run, at)[:12]


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()
