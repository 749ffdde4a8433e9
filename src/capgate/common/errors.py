"""Faults that a person is told about: each carries its facts and says the way out.

Every message is one short paragraph: the target, what happened, the other side's own
words and the remedy. Code that catches one reads its fields and never its text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from capgate.common.text import one_line

_FAULTS: Final = 100
"""Faults of a file that its message shows."""

_LONGEST: Final = 400
"""Characters of a fault's place, and of its words, that a message shows."""

_HEADER: Final = re.compile(r"(authorization|api-key)[\"']?$", re.IGNORECASE)


class CapgateError(Exception):
    """Base of every fault that capgate reports by itself.

    Args:
        what: What happened, as a clause without a full stop.
        remedy: What to do about it.
        target: Id of the target concerned, where there is one.
        said: The other side's own words, where there are any.
    """

    def __init__(self, what: str, *, remedy: str = "", target: str = "", said: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.target = target
        self.said = one_line(said, limit=400)

    @property
    def message(self) -> str:
        """The one paragraph; Inspect shows an exception's `message` where it has one."""
        return str(self)

    def __reduce__(self) -> tuple[object, ...]:
        # Faults travel from the controller to workers; exceptions with keyword-only arguments
        # do not survive pickling by themselves.
        return _rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        parts = [f"{self.target}: {self.what}" if self.target else self.what]
        if self.said:
            parts.append(f'It said: "{self.said}"')
        if self.remedy:
            parts.append(_sentence(self.remedy))
        text = ". ".join(part.rstrip(".") for part in parts)
        return text if text.endswith("?") else f"{text}."


def _sentence(text: str) -> str:
    """`text` with a capital first letter, unless it begins with a command or a name."""
    word = text.split(" ", 1)[0]
    command = word in {"capgate", "pip", "pytest", "make", "export"}
    return text if command or not word.rstrip(":,?").isalpha() else text[0].upper() + text[1:]


def _rebuild(
    kind: type[CapgateError], arguments: tuple[object, ...], state: dict[str, object]
) -> CapgateError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


FileFaultKind = Literal["faulty", "weakened", "impossible"]
"""A fault of form; a bar made weaker without a reason; a score that can't be right."""


@dataclass(frozen=True, slots=True)
class FileFault:
    """One fault of one file.

    Attributes:
        place: Where in the file: an entry and key such as `my-model.base_url`, or `line 7`.
        what: What is wrong and what was expected.
        kind: What sort of fault it is.
    """

    place: str
    what: str
    kind: FileFaultKind = "faulty"

    def __str__(self) -> str:
        place = _short(self.place)
        # "authorization: a literal secret …" would be taken for the header and its value.
        name = " (the key)" if _HEADER.search(place) else ""
        return f"{place}{name}: {_short(self.what)}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


class ConfigError(CapgateError):
    """A file or option that a person wrote can't be used; lists all its faults at once."""

    def __init__(
        self,
        what: str,
        *,
        faults: Sequence[FileFault] = (),
        remedy: str = "",
        target: str = "",
        said: str = "",
    ) -> None:
        super().__init__(what, remedy=remedy, target=target, said=said)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        shown = [f"  {fault}" for fault in self.faults[:_FAULTS]]
        if more := len(self.faults) - len(shown):
            shown.append(f"  … and {more:,} more")
        return "\n".join([super().__str__(), *shown])


class DatasetError(CapgateError):
    """The questions can't be read or downloaded, or are not what they should be."""


class StoreError(CapgateError):
    """The store of answers can't be opened or written."""


class MissingAnswersError(StoreError):
    """Nothing may be asked (`--stored`), and the store lacks answers."""


class ServerError(CapgateError):
    """A managed server did not start, or died."""


class ServerEndedError(ServerError):
    """A target's server stopped answering in the middle, so nothing more can be asked of it."""


class AdapterError(CapgateError):
    """An adapter can't be found, loaded, or shown to be live."""


class ContradictionError(CapgateError):
    """A server does not answer as it did when the run began, so that no answer counts."""


class DifferentReplicasError(CapgateError):
    """Servers that should answer for one target do not serve the same model."""


class ReferenceMissingError(CapgateError):
    """There is nothing valid to compare a candidate with."""


FaultKind = Literal[
    "refused",
    "unreachable",
    "dns",
    "tls",
    "timeout",
    "disconnected",
    "unauthorized",
    "forbidden",
    "no_credit",
    "model_not_found",
    "not_found",
    "redirected",
    "context_too_long",
    "bad_request",
    "moderation",
    "rate_limited",
    "quota",
    "server_error",
    "bad_json",
    "not_json",
    "too_large",
    "empty_choices",
    "error_body",
]
"""What went wrong between us and a server, as far as the remedy differs."""


CauseName = Literal["", "max_completion_tokens", "temperature"]
"""Causes that code acts on: a server wants another field, or another temperature."""


class RequestFault(CapgateError):
    """A request to a model server that gave no answer.

    Args:
        kind: Class of the fault.
        what: What happened, as a clause without a full stop.
        target: Id of the target that was asked.
        url: The URL asked, without credentials or query.
        status: HTTP status, or None where no response came.
        said: The server's own words, already without the key.
        remedy: What to do about it.
        attempts: How often it was tried.
        retry_after: Seconds the server asked us to wait, where it did.
        cause: What the server's words name, where code acts on it.

    Attributes:
        cost: US dollars that the attempt cost; None where it is not known.
    """

    cost: float | None = None

    def __init__(
        self,
        kind: FaultKind,
        what: str,
        *,
        target: str,
        url: str,
        status: int | None = None,
        said: str = "",
        remedy: str = "",
        attempts: int = 1,
        retry_after: float | None = None,
        cause: CauseName = "",
    ) -> None:
        super().__init__(what, remedy=remedy, target=target, said=said)
        self.cause: CauseName = cause
        self.kind: FaultKind = kind
        self.url = url
        self.status = status
        self.attempts = attempts
        self.retry_after = retry_after

    def copy(self, *, attempts: int | None = None) -> RequestFault:
        """Returns an equal fault without traceback, fit to be raised in another place.

        Args:
            attempts: How often it was tried there; unchanged where None.
        """
        return RequestFault(
            self.kind,
            self.what,
            target=self.target,
            url=self.url,
            status=self.status,
            said=self.said,
            remedy=self.remedy,
            attempts=self.attempts if attempts is None else attempts,
            retry_after=self.retry_after,
            cause=self.cause,
        )

    def __str__(self) -> str:
        status = f"HTTP {self.status} from" if self.status is not None else "no response from"
        tried = f" after {self.attempts} attempts" if self.attempts > 1 else ""
        parts = [f"{self.target}: {self.what} ({status} {self.url}{tried})"]
        if self.said:
            parts.append(f'the server said: "{self.said.rstrip(".")}"')
        if self.remedy:
            parts.append(self.remedy)
        return ". ".join(part.rstrip(".") for part in parts) + "."
