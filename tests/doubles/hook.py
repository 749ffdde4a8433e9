"""A webhook on this machine that answers as it is told."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass
class Posted:
    """One message as it arrived."""

    path: str
    raw: bytes

    @property
    def message(self) -> dict[str, Any]:
        """What it says."""
        found: dict[str, Any] = json.loads(self.raw)
        return found


class Hook:
    """The double; a context manager that listens while it is entered.

    Attributes:
        got: What was posted.
        statuses: How the next posts are answered.
        status: How all others are.
        said: What is answered, with the request's path for `{path}`.
        silent: Whether it takes posts and never answers.
        drips: Whether it sends header upon header without end.
    """

    def __init__(self) -> None:
        self.got: list[Posted] = []
        self.statuses: list[int] = []
        self.status = 200
        self.said = "no thanks <b>"
        self.silent = False
        self.drips = False
        self.over = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append(Posted(self.path, raw))
                if hook.silent:
                    hook.over.wait()
                    return
                if hook.drips:
                    self._drip()
                    return
                self.send_response(hook.statuses.pop(0) if hook.statuses else hook.status)
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(hook.said.format(path=self.path).encode())

            def _drip(self) -> None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                try:
                    while not hook.over.wait(0.02):
                        self.wfile.write(b"x: y\r\n")
                except OSError:
                    pass  # the client has gone

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def url(self, path: str) -> str:
        """Its URL with a path."""
        return f"http://127.0.0.1:{self._server.server_port}/{path}"

    def close(self) -> None:
        """Listens no more."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
