"""From a failed exchange with a server to the fault that a person is told about."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from capgate.client.bodies import BodyTooLargeError
from capgate.client.faults import FaultText, Place, words_of
from capgate.common.errors import RequestFault
from capgate.common.text import one_line

_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL})
_NO_TLS: Final = "no secure connection was made: {cause}"


@dataclass(frozen=True, slots=True)
class _Row:
    """What an exception means.

    Attributes:
        types: The exception's types.
        text: The fault.
        when: Further condition; none where None.
    """

    types: tuple[type[BaseException], ...]
    text: FaultText
    when: Callable[[BaseException], bool] | None = None


EXCEPTIONS: Final[tuple[_Row, ...]] = (
    _Row(
        (BodyTooLargeError,),
        FaultText(
            "too_large",
            "the response is larger than {size} MiB",
            "No model's answer or list is: look at the server's log, and lower max_tokens"
            " where the answer is meant to be so long",
        ),
    ),
    _Row(
        (aiohttp.ClientConnectorDNSError, socket.gaierror),
        FaultText(
            "dns",
            "the server's host name can't be resolved",
            "Check the host in base_url, and the network",
        ),
    ),
    _Row(
        (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError),
        FaultText(
            "tls",
            _NO_TLS,
            "Name the file with its certificate's authority in SSL_CERT_FILE",
        ),
    ),
    _Row(
        (aiohttp.ClientSSLError, ssl.SSLError),
        FaultText(
            "tls",
            _NO_TLS,
            "Check http:// against https:// in base_url, and the server's certificate",
        ),
    ),
    _Row(
        (aiohttp.ConnectionTimeoutError,),
        FaultText(
            "unreachable",
            "no connection was made in time",
            "Check base_url's host and port, and firewalls between",
        ),
    ),
    # aiohttp's own time-outs are TimeoutErrors as well.
    _Row(
        (TimeoutError,),
        FaultText(
            "timeout",
            "no answer came within {limit} s",
            "The server hangs or is overloaded: lower max_connections, raise the"
            " time-out, or look at its log",
        ),
    ),
    _Row(
        (aiohttp.ClientConnectorError,),
        FaultText(
            "refused",
            "nothing accepts connections there",
            "Start the server, or correct base_url's host and port",
        ),
        when=lambda error: isinstance(_os_error(error), ConnectionRefusedError),
    ),
    _Row(
        (aiohttp.ClientConnectorError,),
        FaultText(
            "unreachable",
            "this machine can't open more connections",
            "Raise its limit of open files (ulimit -n), or lower max_connections for this target",
        ),
        when=lambda error: getattr(_os_error(error), "errno", None) in _NO_MORE_FILES,
    ),
    _Row(
        (aiohttp.ClientConnectorError,),
        FaultText(
            "unreachable",
            "the server can't be reached: {cause}",
            "Check base_url's host and port, and the network",
        ),
    ),
    _Row(
        (aiohttp.InvalidURL,),
        FaultText(
            "unreachable",
            "base_url is not a URL that can be asked",
            "Write it as http://host:port/v1",
        ),
    ),
    _Row(
        (aiohttp.ClientResponseError,),
        FaultText(
            "not_json",
            "what answered does not speak HTTP as a model server does",
            "Check base_url's port and scheme",
        ),
    ),
    _Row(
        (BaseException,),
        FaultText(
            "disconnected",
            "the connection broke before the answer was complete: {cause}",
            "The server crashed or restarted, or something between closes connections:"
            " look at its log",
        ),
    ),
)
"""What exceptions mean, the first row that fits."""


def fault_of_exception(place: Place, error: BaseException, *, limit: float) -> RequestFault:
    """Returns the fault that a failed exchange means.

    Args:
        place: Who was asked.
        error: What aiohttp or asyncio raised.
        limit: The time-out of one attempt, seconds.
    """
    text = next(
        row.text
        for row in EXCEPTIONS
        if isinstance(error, row.types) and (row.when is None or row.when(error))
    )
    said, size, status = "", "", None
    if isinstance(error, BodyTooLargeError):
        said, size, status = words_of(None, error.begins), f"{error.limit / 2**20:.3g}", 200
    elif isinstance(error, aiohttp.ClientResponseError):
        said = error.message
    return place.known(
        text, said=said, status=status, cause=_cause(place, error), limit=f"{limit:g}", size=size
    )


def _os_error(error: BaseException) -> BaseException:
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error


def _cause(place: Place, error: BaseException) -> str:
    """What the operating system or aiohttp says of an exception, as one line."""
    cause = _os_error(error)
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return one_line(place.redact(text), limit=160)
