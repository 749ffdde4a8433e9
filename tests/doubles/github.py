"""GitHub's REST interface, as far as comments on a pull request go, on this machine."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_0123456789abcdefghijklmnopqrstuvwxyz"
BOT = {"login": "github-actions[bot]", "type": "Bot"}


class GitHub:
    """The double; a context manager that listens while it is entered.

    Args:
        user: Whom the token belongs to; None for an app's token, which may not ask.

    Attributes:
        comments: The comments of pull request 7 of team/models, oldest first.
        refuses: Whether the token may not write.
        calls: Method and path of each request.
    """

    def __init__(self, user: str | None = None) -> None:
        self.user = user
        self.comments: list[dict[str, Any]] = []
        self.refuses = False
        self.calls: list[str] = []
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(self._read())

            def do_PATCH(self) -> None:
                self._answer(self._read())

            def _read(self) -> Any:  # noqa: ANN401 (JSON)
                return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, body: Any) -> None:  # noqa: ANN401 (JSON)
                double.calls.append(f"{self.command} {urlsplit(self.path).path}")
                authorised = self.headers["Authorization"] == f"Bearer {TOKEN}"
                status, said = (
                    double.answer(self.command, self.path, body)
                    if authorised
                    else (401, {"message": "Bad credentials"})
                )
                raw = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """What GITHUB_API_URL names."""
        return f"http://127.0.0.1:{self._server.server_port}/api/v3"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a job that finds this GitHub."""
        return {"GITHUB_API_URL": self.url, "GITHUB_REPOSITORY": "team/models", "GH_TOKEN": TOKEN}

    def write(self, body: str, user: dict[str, str] | None = None) -> int:
        """Adds a comment, of the token's own account by default; returns its id."""
        own = {"login": self.user, "type": "User"} if self.user else BOT
        one = {"id": 1000 + len(self.comments), "body": body, "user": user or own}
        self.comments.append(one)
        return int(one["id"])  # type: ignore[call-overload]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:  # noqa: ANN401 (JSON)
        """Status and JSON for a request."""
        url = urlsplit(path)
        name = url.path.removeprefix("/api/v3")
        denied = {"message": "Resource not accessible by integration"}
        if name == "/user":
            return (200, {"login": self.user}) if self.user else (403, denied)
        if name == "/repos/team/models/issues/7/comments" and method == "GET":
            asked = {key: int(value[0]) for key, value in parse_qs(url.query).items()}
            size, page = min(asked.get("per_page", 30), 100), asked.get("page", 1)
            return 200, self.comments[(page - 1) * size : page * size]
        if self.refuses:
            return 403, denied
        if name == "/repos/team/models/issues/7/comments" and method == "POST":
            self.write(body["body"])
            return 201, self.comments[-1]
        found = re.fullmatch(r"/repos/team/models/issues/comments/(\d+)", name)
        if found and method == "PATCH":
            for one in self.comments:
                if one["id"] == int(found[1]):
                    one["body"] = body["body"]
                    return 200, one
        return 404, {"message": "Not Found"}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
