"""A known cause of a failed request, told by the server's words."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Final

from capgate.common.errors import CauseName, FaultKind

_LOOKED_AT: Final = 4_000
"""Characters of a server's words that are searched."""

WORDS_ALONE: Final = frozenset({400, 404, 405, 415, 422, 424, 500, 501})
"""Statuses that different servers use for one and the same refusal of a request."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A known cause of a refused or failed request.

    Attributes:
        words: How a server tells of it; a group `name` is the field that it names.
        kind: Class of the fault.
        what: What happened, as a clause; `{name}` stands for the group.
        remedy: What to do about it; likewise.
        statuses: HTTP statuses that it comes with.
        name: The name by which code acts on it, if any.
    """

    words: re.Pattern[str]
    kind: FaultKind
    what: str
    remedy: str
    statuses: Container[int] = WORDS_ALONE
    name: CauseName = ""


def known_cause(status: int, said: str, causes: Sequence[Cause]) -> Cause | None:
    """The cause that a server's words name; None where they name no known one.

    Args:
        status: The HTTP status, or the code of an error inside a response.
        said: The server's words, with the error's code and type.
        causes: The rows to look at, in order.

    Returns:
        It, with the field that the server named written into its texts.
    """
    said = said[:_LOOKED_AT]
    for cause in causes:
        if status not in cause.statuses:
            continue
        found = cause.words.search(said)
        if found is None:
            continue
        if "name" not in cause.words.groupindex:
            return cause
        name = found["name"]
        what, remedy = (text.replace("{name}", name) for text in (cause.what, cause.remedy))
        return replace(cause, what=what, remedy=remedy)
    return None
