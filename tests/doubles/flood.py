"""A server that answers whatever it is asked by bytes without end, and counts them."""

from __future__ import annotations

import gzip
import io
import socketserver
import threading
from functools import cache
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
FAILED = OK.replace(b"200 OK", b"500 Internal Server Error")
GZIPPED = b"Content-Encoding: gzip\r\n"


def chunk(body: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(body), body)


@cache
def bomb() -> bytes:
    """Gzipped 256 MiB, as one piece of a chunked body; a quarter of a megabyte long."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as file:
        block = b" " * (1 << 24)
        for _ in range(16):
            file.write(block)
    return chunk(out.getvalue())


class Flood:
    """The double; a context manager that serves while it is entered.

    Args:
        begins: What it sends first.
        repeats: What it sends then, again and again.
        most: Bytes after which it ends all the same.
        pause: Seconds between two pieces.
    """

    def __init__(
        self, begins: bytes, repeats: bytes = b"", *, most: int = 1 << 28, pause: float = 0.0
    ) -> None:
        self.sent = 0
        self.connections = 0
        flood = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                flood.connections += 1
                self.request.recv(1 << 16)
                try:
                    self.send(begins)
                    while repeats and flood.sent < most and not flood.over.is_set():
                        self.send(repeats)
                        if pause:
                            flood.over.wait(pause)
                except OSError:
                    pass

            def send(self, data: bytes) -> None:
                view = memoryview(data)
                while view:
                    done = self.request.send(view[: 1 << 16])
                    flood.sent += done
                    view = view[done:]

        class TcpServer(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self.over = threading.Event()
        self._server = TcpServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def root(self) -> str:
        """The server's root."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The API's root."""
        return f"{self.root}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
