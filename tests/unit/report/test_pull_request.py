"""The report's comment on a pull request: written once, replaced from then on."""

from __future__ import annotations

import pytest
from tests.doubles.github import BOT, TOKEN, GitHub

from capgate.common.errors import ConfigError
from capgate.common.redact import Redactor
from capgate.report.pull_request import CommentError, post_comment

MARKER = "<!-- capgate-report 0123abcd -->"
BODY = f"{MARKER}\nPASS"


def post(github: GitHub, body: str = BODY, **further: str) -> bool:
    """Posts a comment on pull request 7."""
    return post_comment(body, 7, Redactor([TOKEN]), github.environment | further)


def test_it_is_written_once_and_then_replaced() -> None:
    """The second run of the same targets puts its text where the first one's was."""
    with GitHub() as github:
        github.write("looks good", {"login": "eve", "type": "User"})
        assert post(github) is False
        assert post(github, f"{MARKER}\nREGRESSION") is True
        assert [one["body"] for one in github.comments] == [
            "looks good",
            f"{MARKER}\nREGRESSION",
        ]


def test_other_targets_have_a_comment_of_their_own() -> None:
    """A comment with another marker is left as it is, though the marker begins alike."""
    with GitHub() as github:
        github.write("<!-- capgate-report 0123abcd2 -->\nother")
        assert post(github) is False
        assert len(github.comments) == 2


@pytest.mark.parametrize("user", [None, "release-bot"])
def test_a_comment_of_somebody_else_is_not_replaced(user: str | None) -> None:
    """Its author could edit the verdict afterwards."""
    with GitHub(user) as github:
        forged = github.write(f"{MARKER}\nmine", {"login": "eve", "type": "User"})
        assert post(github) is False
        assert post(github) is True
        assert [one["body"] for one in github.comments if one["id"] == forged] == [
            f"{MARKER}\nmine"
        ]
        assert len(github.comments) == 2


def test_a_person_s_token_leaves_the_bot_s_comment() -> None:
    """The token's account is asked for, so that only its own comments are replaced."""
    with GitHub("ann") as github:
        github.write(f"{MARKER}\nof the bot", BOT)
        assert post(github) is False
        assert len(github.comments) == 2


def test_it_is_found_after_hundreds_of_others() -> None:
    """All pages of comments are looked through."""
    with GitHub() as github:
        for at in range(230):
            github.write(f"comment {at}")
        post(github)
        assert post(github, f"{MARKER}\nnew") is True
        assert len(github.comments) == 231


def test_a_token_that_may_not_write() -> None:
    """GitHub's words are told, with the permission that is missing."""
    with GitHub() as github:
        github.refuses = True
        with pytest.raises(CommentError) as told:
            post(github)
    assert "HTTP 403" in str(told.value)
    assert "Resource not accessible by integration" in str(told.value)
    assert "pull-requests: write" in str(told.value)


def test_a_github_out_of_reach() -> None:
    """It is told as such, and no token with it."""
    with GitHub() as github:
        gone = github.environment
    with pytest.raises(CommentError, match="GitHub did not answer") as told:
        post_comment(BODY, 7, Redactor([TOKEN]), gone)
    assert TOKEN not in str(told.value)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("GH_TOKEN", "", "needs a token"),
        ("GH_TOKEN", "a\nb", "can't be used|did not answer"),
        ("GITHUB_REPOSITORY", "", "OWNER/NAME"),
        ("GITHUB_REPOSITORY", "team/models/../../user", "OWNER/NAME"),
        ("GITHUB_API_URL", "nonsense", "did not answer"),
    ],
)
def test_a_variable_that_is_wrong(variable: str, value: str, said: str) -> None:
    """A missing or unusable variable is named, and nothing is written."""
    with GitHub() as github:
        with pytest.raises((ConfigError, CommentError), match=said):
            post(github, **{variable: value})
        assert not github.comments
