"""How long machines that share a database wait for one that does not answer."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from capgate.common.errors import ConfigError

_VARIABLE: Final = "CAPGATE_CLAIM_SECONDS"
_SECONDS: Final = 60.0
_LEAST: Final = 1.0
_MOST: Final = 86_400.0


def patience() -> float:
    """Seconds after which what a dead process holds is free, and a lost connection is given up.

    Raises:
        ConfigError: The environment names another number of seconds, and that is none.
    """
    text = os.environ.get(_VARIABLE, "")
    if not text:
        return _SECONDS
    with suppress(ValueError):
        if _LEAST <= (seconds := float(text)) <= _MOST:
            return seconds
    raise ConfigError(
        f"{_VARIABLE} should be a number of seconds from {_LEAST:g} to {_MOST:,.0f}, not {text!r}"
    )
