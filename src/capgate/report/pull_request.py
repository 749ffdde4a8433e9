"""The report's comment on a pull request of GitHub, which is kept up to date in place.

Only a comment that this token's own account wrote is replaced: anybody may write one that begins
with the same marker, and could edit it afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from capgate.common.errors import CapgateError, ConfigError
from capgate.common.redact import Redactor

_TOKENS: Final = ("GH_TOKEN", "GITHUB_TOKEN")
_API: Final = "https://api.github.com"
_REPOSITORY: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_TIMEOUT: Final = 20.0
"""Seconds for each step of a request."""

_PAGE: Final = 100
"""Comments that GitHub lists at once, at most."""

_PAGES: Final = 50
"""Pages that are looked through; a pull request with more gets a new comment."""

_DENIED: Final = frozenset({401, 403, 404})


class CommentError(CapgateError):
    """GitHub did not take the comment."""


class _GitHub:
    """The comments of one repository, through GitHub's REST interface."""

    def __init__(self, client: httpx.Client, repository: str, redactor: Redactor) -> None:
        self._client = client
        self._repository = repository
        self._redactor = redactor
        self._me: str | None = None

    def mine(self, number: int, marker: str) -> int | None:
        """The id of this account's newest comment that begins with the marker."""
        found: list[int] = []
        for one in self._comments(number):
            if str(one.get("body") or "").splitlines()[:1] == [marker]:
                user = one.get("user") or {}
                if self._is_mine(str(user.get("login")), str(user.get("type"))):
                    found.append(int(one["id"]))
        return max(found, default=None)

    def create(self, number: int, body: str) -> None:
        """Writes a new comment."""
        self._ask("POST", f"/repos/{self._repository}/issues/{number}/comments", {"body": body})

    def replace(self, comment: int, body: str) -> None:
        """Puts a new text into a comment."""
        self._ask("PATCH", f"/repos/{self._repository}/issues/comments/{comment}", {"body": body})

    def _comments(self, number: int) -> Iterator[dict[str, Any]]:
        for page in range(1, _PAGES + 1):
            path = f"/repos/{self._repository}/issues/{number}/comments"
            listed = self._ask("GET", f"{path}?per_page={_PAGE}&page={page}")
            if not isinstance(listed, list):
                raise CommentError(
                    "GitHub answered with no list of comments",
                    remedy="does GITHUB_API_URL name its API?",
                )
            yield from (one for one in listed if isinstance(one, dict))
            if len(listed) < _PAGE:
                return

    def _is_mine(self, login: str, kind: str) -> bool:
        # The token of a job is that of an app, which may not ask who it is.
        if self._me is None:
            response = self._send("GET", "/user")
            told = None if response.status_code in _DENIED else self._read(response)
            self._me = str(told.get("login") or "") if isinstance(told, dict) else ""
        return login == self._me if self._me else kind == "Bot"

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:  # noqa: ANN401
        return self._read(self._send(method, path, body))

    def _send(self, method: str, path: str, body: dict[str, str] | None = None) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CommentError(
                "GitHub did not answer, so that the comment may not be up to date",
                said=self._redactor.text(f"{type(error).__name__}: {error}"),
                remedy="run the command again; the verdict stands",
            ) from None

    def _read(self, response: httpx.Response) -> Any:  # noqa: ANN401
        if response.is_success:
            try:
                return response.json()
            except ValueError:
                raise CommentError(
                    "GitHub's answer is no JSON", remedy="does GITHUB_API_URL name its API?"
                ) from None
        raise CommentError(
            f"GitHub did not take the comment: HTTP {response.status_code}",
            said=self._redactor.text(response.text[:2_000]),
            remedy="give the job `permissions: pull-requests: write`; a pull request from a fork "
            "never gets it"
            if response.status_code in _DENIED
            else "run the command again; the verdict stands",
        )


def post_comment(
    body: str, number: int, redactor: Redactor, environment: Mapping[str, str]
) -> bool:
    """Writes the comment on a pull request, or replaces the one of an earlier run.

    Args:
        body: The comment; its first line is the marker by which it is found again.
        number: The pull request's number.
        redactor: Knows what is secret in GitHub's own words.
        environment: Holds a token (GH_TOKEN or GITHUB_TOKEN), GITHUB_REPOSITORY, and, for a
            server of one's own, GITHUB_API_URL.

    Returns:
        Whether an earlier comment was replaced.

    Raises:
        ConfigError: A variable is missing or can't be used.
        CommentError: GitHub did not take it.
    """
    token = next((environment[name] for name in _TOKENS if environment.get(name)), "")
    if not token:
        raise ConfigError(
            "the comment needs a token",
            remedy="set GH_TOKEN; in a job of GitHub Actions it is ${{ github.token }}",
        )
    repository = environment.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(repository):
        raise ConfigError(
            f"GITHUB_REPOSITORY is {repository!r}", remedy="set it to OWNER/NAME of the repository"
        )
    base = environment.get("GITHUB_API_URL") or _API
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    try:
        client = httpx.Client(base_url=base, headers=headers, timeout=_TIMEOUT)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigError(
            "GITHUB_API_URL or the token can't be used",
            said=redactor.text(str(error)),
            remedy="a token is one line of ASCII",
        ) from None
    with client:
        github = _GitHub(client, repository, redactor)
        earlier = github.mine(number, body.splitlines()[0])
        if earlier is None:
            github.create(number, body)
        else:
            github.replace(earlier, body)
    return earlier is not None
