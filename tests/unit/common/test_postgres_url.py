"""URLs of databases are shown without their passwords."""

from __future__ import annotations

import pytest

from capgate.common.postgres_url import PostgresUrl


@pytest.mark.parametrize(
    ("text", "shown", "secrets"),
    [
        ("postgresql://h/db", "postgresql://h/db", set()),
        ("postgresql://me:s3cret@h:5/db", "postgresql://me@h:5/db", {"s3cret"}),
        ("postgres://me:a%2Fb%3A@h,i:2/db", "postgres://me@h,i:2/db", {"a%2Fb%3A", "a/b:"}),
        ("postgresql://me:a@b:c@h/db", "postgresql://me@h/db", {"a@b:c"}),
        ("postgresql:///db?password=s3cret", "postgresql:///db", {"s3cret"}),
        (
            "postgresql://h/db?sslmode=require&password=s3cret&user=me",
            "postgresql://h/db?sslmode=require&user=me",
            {"s3cret"},
        ),
        (
            "postgresql://h/db?password=one&sslpassword=two",
            "postgresql://h/db",
            {"one", "two"},
        ),
        ("postgresql://postgres:postgres@h/db", "postgresql://postgres@h/db", set()),
    ],
)
def test_a_password_is_left_out(text: str, shown: str, secrets: set[str]) -> None:
    """Wherever it stands in the URL; one that the rest of the URL says is no secret."""
    url = PostgresUrl(text)
    assert (str(url), set(url.secrets)) == (shown, secrets)
    assert repr(url) == f"PostgresUrl({shown!r})"
    assert (url.with_password, url == PostgresUrl(text)) == (text, True)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("postgresql://h/db", True), ("POSTGRES://h", True), ("postgresql", False), ("a/b", False)],
)
def test_what_is_such_a_url(text: str, is_one: bool) -> None:
    """By its scheme alone."""
    assert PostgresUrl.is_one(text) is is_one
