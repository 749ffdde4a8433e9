"""From an exchange with a server that failed underway to the fault that a person is told about."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final

import aiohttp

from capgate.client.faults import Place, words_of
from capgate.common.bodies import BodyTooLargeError
from capgate.common.errors import RequestFault
from capgate.common.text import one_line

_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL})


def fault_of_exception(place: Place, error: BaseException, *, limit: float) -> RequestFault:
    """Returns the fault that a failed exchange means.

    Args:
        place: Who was asked.
        error: What aiohttp or asyncio raised.
        limit: The time-out of one attempt, seconds.
    """
    match error:
        case BodyTooLargeError():
            return place.fault(
                "too_large",
                f"the response is larger than {error.limit / 2**20:.3g} MiB",
                "No model's answer or list is: look at the server's log, and lower max_tokens"
                " where the answer is meant to be so long",
                said=words_of(None, error.begins),
                status=200,
            )
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return place.fault(
                "dns",
                "the server's host name can't be resolved",
                "Check the host in base_url, and the network",
            )
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return place.fault(
                "tls",
                f"no secure connection was made: {_cause(place, error)}",
                "Name the file with its certificate's authority in SSL_CERT_FILE"
                if "certificate" in str(error).lower()
                else "Check http:// against https:// in base_url, and the server's certificate",
            )
        case aiohttp.ConnectionTimeoutError():
            return place.fault(
                "unreachable",
                "no connection was made in time",
                "Check base_url's host and port, and firewalls between",
            )
        case TimeoutError():  # aiohttp's own time-outs are TimeoutErrors too
            return place.fault(
                "timeout",
                f"no answer came within {limit:g} s",
                "The server hangs or is overloaded: lower max_connections, raise the"
                " time-out, or look at its log",
            )
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return place.fault(
                "refused",
                "nothing accepts connections there",
                "Start the server, or correct base_url's host and port",
            )
        case aiohttp.ClientConnectorError() if error.os_error.errno in _NO_MORE_FILES:
            return place.fault(
                "unreachable",
                "this machine can't open more connections",
                "Raise its limit of open files (ulimit -n), or lower max_connections for this"
                " target",
            )
        case aiohttp.ClientConnectorError():
            return place.fault(
                "unreachable",
                f"the server can't be reached: {_cause(place, error)}",
                "Check base_url's host and port, and the network",
            )
        case aiohttp.InvalidURL():
            return place.fault(
                "unreachable",
                "base_url is not a URL that can be asked",
                "Write it as http://host:port/v1",
            )
        case aiohttp.ClientResponseError():
            return place.fault(
                "not_json",
                "what answered does not speak HTTP as a model server does",
                "Check base_url's port and scheme",
                said=error.message,
            )
        case _:
            return place.fault(
                "disconnected",
                f"the connection broke before the answer was complete: {_cause(place, error)}",
                "The server crashed or restarted, or something between closes connections:"
                " look at its log",
            )


def _cause(place: Place, error: BaseException) -> str:
    cause = error
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return one_line(place.redact(text), limit=160)
