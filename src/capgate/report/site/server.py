"""The server of `capgate open`: a folder of reports for one user's browser on this machine.

It listens on 127.0.0.1. A random token begins each path, so other users of the machine can't read
what it serves, and a page of the web that has its own name resolve to 127.0.0.1 is refused by its
`Host`. It answers GET and HEAD, reads files by name out of a list of its own, and writes nothing.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from capgate.common.errors import ConfigError
from capgate.common.redact import Redactor
from capgate.report.site.folder import ReportsFolder
from capgate.report.site.index import Wanted, index_policy, render_index
from capgate.report.site.progress import LiveProgress

ADDRESS: Final = "127.0.0.1"
_SECONDS: Final = 20.0
"""How long a browser may take for its request."""

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NOTHING_ALLOWED: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; sandbox"
_OWN_POLICY: Final = re.compile(
    rb"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
    rb"style-src '(sha256-[A-Za-z0-9+/=]+)'; script-src '(sha256-[A-Za-z0-9+/=]+)'; "
    rb"base-uri 'none'; form-action 'none'\">"
)
_HEAD_BYTES: Final = 4_096


def policy_of(page: bytes) -> str:
    """The content security policy under which a run's page is served.

    The page's one script runs in an origin of its own: it can read neither the list of runs nor
    other reports, and can send nothing. A page that is not in capgate's form runs nothing.
    """
    own = _OWN_POLICY.search(page[:_HEAD_BYTES])
    if own is None:
        return _NOTHING_ALLOWED
    style, script = own[1].decode(), own[2].decode()
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
    )


class Site(ThreadingMixIn, TCPServer):
    """Serves a folder of reports until it is shut down.

    Args:
        folder: The folder of reports.
        progress: What is going on.
        redactor: Cuts out what is secret.
        port: The port; a free one where 0.

    Attributes:
        folder: The folder of reports.
        progress: What is going on.
        redactor: Cuts out what is secret.
        token: What begins each path.

    Raises:
        ConfigError: The port can't be used.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(
        self, folder: ReportsFolder, progress: LiveProgress, redactor: Redactor, port: int = 0
    ) -> None:
        self.folder = folder
        self.progress = progress
        self.redactor = redactor
        self.token = secrets.token_hex(16)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"--port: {port} can't be used on {ADDRESS}",
                said=str(error),
                remedy="name another port, or leave --port out for a free one",
            ) from None

    @property
    def url(self) -> str:
        """The address of its first page; who knows it can read the reports."""
        return f"http://{ADDRESS}:{self.server_address[1]}/{self.token}/"

    def handle_error(
        self,
        request: socket.socket | tuple[bytes, socket.socket],
        client_address: Any,  # noqa: ANN401
    ) -> None:
        """A browser that goes away in the middle is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Site
    timeout = _SECONDS

    def parse_request(self) -> bool:
        """Refuses whatever is not a plain request of this server's own address."""
        if not super().parse_request():
            return False
        if self.command not in ("GET", "HEAD"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)
            return False
        port = self.server.server_address[1]
        if self.headers.get_all("Host") not in ([f"{ADDRESS}:{port}"], [f"localhost:{port}"]):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return False
        return True

    def do_GET(self) -> None:
        """Answers with a page, the progress as JSON, or that there is no such thing."""
        try:
            asked = urlsplit(self.path)
            token, _, rest = asked.path.removeprefix("/").partition("/")
            mine = hmac.compare_digest(token.encode(), self.server.token.encode())
            if asked.scheme or asked.netloc or not mine:
                self._refuse(HTTPStatus.NOT_FOUND)
            else:
                self._answer(rest, asked.query)
        except OSError:
            self.close_connection = True
        except Exception:
            # A file that was changed by hand; what of it is at fault may be confidential.
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)

    do_HEAD = do_GET

    def _answer(self, path: str, query: str) -> None:
        site = self.server
        if path == "":
            try:
                wanted = Wanted.of(parse_qs(query, max_num_fields=20))
            except ValueError:
                self._refuse(HTTPStatus.BAD_REQUEST)
                return
            page = render_index(site.folder, site.progress.now(), wanted, site.redactor)
            self._send(page.encode("utf-8", "replace"), policy=index_policy())
        elif path == "progress.json":
            data = site.redactor.data(site.progress.now().to_dict())
            self._send(json.dumps(data).encode(), kind="application/json")
        else:
            match path.split("/"):
                case ["runs", run, name]:
                    text = site.folder.page(unquote(run), name)
                case _:
                    text = None
            if text is None:
                self._refuse(HTTPStatus.NOT_FOUND)
            else:
                self._send(text, policy=policy_of(text))

    def _send(
        self,
        body: bytes,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        kind: str = "text/html; charset=utf-8",
        policy: str = _NOTHING_ALLOWED,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(f"{status.phrase}\n".encode(), status=status, kind="text/plain; charset=utf-8")

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """A request that can't be understood; nothing of it is repeated."""
        self._refuse(HTTPStatus(code))

    def version_string(self) -> str:
        """The name of the server, without versions."""
        return "capgate"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
        """Nothing is logged: a path holds the token."""
