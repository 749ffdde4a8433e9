"""Secrets and home folders are cut out of text, and nothing else is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.common.redact import Redactor
from capgate.common.redacted_forms import FORMS as FORMS_OF_SECRETS
from capgate.common.redacted_forms import HOMES, MARK
from capgate.common.secret_forms import without_tokens
from capgate.common.text import one_line

REDACTOR = Redactor(["s3cr3t-value"], home=Path("/srv/people/ann"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the key is s3cr3t-value.", f"the key is {MARK}."),
        ("Authorization: Bearer abc.def-1", f"Authorization: Bearer {MARK}"),
        ('{"authorization": "Basic Zm9vOmJhcg=="}', f'{{"authorization": "Basic {MARK}"}}'),
        ("x-api-key: abcdef", f"x-api-key: {MARK}"),
        ("sent Bearer abcdef123456", f"sent Bearer {MARK}"),
        ("https://ann:pw@host/v1", f"https://{MARK}@host/v1"),
        ("postgresql://ann:pw@host/db", f"postgresql://{MARK}@host/db"),
        ("postgresql://ann@host/db?sslmode=require", None),
        ("notpostgres://token@host", f"notpostgres://{MARK}@host"),
        ("https://host/v1?access_token=abc&x=1", f"https://host/v1?access_token={MARK}&x=1"),
        ("https://hooks.slack.com/services/T0/B0/abc", f"https://hooks.slack.com/{MARK}"),
        ("sk-proj-0123456789abcdef", MARK),
        ("hf_0123456789abcdefgh", MARK),
        ("hf_01234567…", f"{MARK}…"),
        ("/srv/people/ann/models/x", "~/models/x"),
        ("/home/bob/x, /Users/eve/y and /root/z", "~/x, ~/y and ~/z"),
        (r"C:\Users\bob\x", r"~\x"),
        ("/srv/people/anna/x", "/srv/people/anna/x"),
        ("ANSWER: A", "ANSWER: A"),
        ("the bearer of bad news; see https://host/v1/models?limit=2", None),
        ("task-force and risk-averse; a/home/run", None),
    ],
)
def test_what_is_cut_out(text: str, shown: str | None) -> None:
    """Known values, headers, URLs' secrets, well-known tokens and home folders go."""
    assert REDACTOR.text(text) == (text if shown is None else shown)
    assert REDACTOR.may_change(text.encode()) or shown in (None, text)


def test_an_environment_tells_its_secrets_by_name() -> None:
    """Values of variables whose names say so are secret; short and open ones are not."""
    redactor = Redactor.of_environment(
        {
            "VLLM_API_KEY": "alpha-alpha",
            "GITHUB_TOKEN": "beta-beta-beta",
            "CAPGATE_ALERT_URL": "https://chat.example/hook/gamma-gamma",
            "API_KEY_ENV": "NAME_OF_KEY",
            "PATH": "/usr/bin:/sbin",
            "OTHER_KEY": "EMPTY",
            "PGPASSWORD": "epsilon-epsilon",
        },
        ["delta-delta"],
    )
    text = (
        "alpha-alpha beta-beta-beta hook/gamma-gamma delta-delta NAME_OF_KEY /usr/bin:/sbin EMPTY"
    )
    assert redactor.text(text) == f"{MARK} {MARK} {MARK} {MARK} NAME_OF_KEY /usr/bin:/sbin EMPTY"
    assert redactor.text("epsilon-epsilon") == MARK
    assert redactor.text('{"x": "alpha-alpha"}') == f'{{"x": "{MARK}"}}'


def test_a_secret_that_was_cut_leaves_neither_beginning_nor_end() -> None:
    """Of a long answer the middle is left out, perhaps with the middle of a key."""
    text = "it is s3cr3t-va…\n[9 of 99 characters left out]\n…r3t-value, so…"
    assert REDACTOR.known(text) == f"it is {MARK}…\n[9 of 99 characters left out]\n…{MARK}, so…"


@pytest.mark.parametrize(
    "said",
    [
        "Cannot POST /hook/s3cr3tpath",
        "no route hook/s3cr3tpath?channel=me123456",
        "channel me123456 is unknown",
        "user bot-token-1 may not",
        "hook%2Fs3cr3tpath",
        "the step s3cr3tpath1 of https://chat.example/hooks/s3cr3tpath1",
    ],
)
def test_what_follows_a_url_s_host_is_secret_by_itself(said: str) -> None:
    """A server that repeats a webhook's path, query or user does so without the host."""
    redactor = Redactor.of_environment(
        {},
        [
            "https://bot-token-1@chat.example/hook/s3cr3tpath?channel=me123456",
            "https://chat.example/hooks/s3cr3tpath1",
        ],
    )
    shown = redactor.text(said)
    assert MARK in shown
    assert not [part for part in ("s3cr3tpath", "me123456", "bot-token-1") if part in shown]
    for open_text in ("chat.example/hooks is up", "see https://chat.exa… or https://…"):
        assert redactor.text(open_text) == open_text
    assert redactor.text("POST https://chat.example/hook/s3cr3tp…") == (
        f"POST https://chat.example/{MARK}…"
    )


def test_a_secret_that_a_short_line_cuts_is_secret_as_well() -> None:
    """What one line has no room for ends in an ellipsis; the beginning of a key stands before."""
    redactor = Redactor(["s3cr3t-value-of-a-key"])
    for limit in range(12, 50):
        line = one_line("refused: s3cr3t-value-of-a-key is not known here", limit=limit)
        assert "s3cr3t-v" not in redactor.text(line), limit
    assert redactor.text("s3c… and so on…") == "s3c… and so on…"


FORMS = (
    "Authorization: Bearer abcd1234 ",
    "authorization=abcd1234",
    "x-api-key: abcd1234",
    "https://user:password@host.example/a?token=abcd1234&b=c",
    "https://hooks.slack.com/services/T0/B0/abcd1234",
    "Bearer [key]",
)


@given(
    st.sampled_from(
        ["/", "a", "://", "sk-", "key=", "&", "bearer ", "@", "/home/", *FORMS],
    ),
    st.text(max_size=50),
)
def test_redacting_twice_changes_nothing_more(piece: str, text: str) -> None:
    """What was cut out once is not taken for something secret again."""
    once = REDACTOR.text(text + piece + text)
    assert REDACTOR.text(once) == once


@pytest.mark.parametrize(
    "piece", ["x", "://", "http://", "a.", "&a", "authorization ", "eyJ", "sk-", "s3cr3t-v", "a…"]
)
def test_a_long_line_takes_no_long_time(piece: str) -> None:
    """A megabyte of anything is read in a few seconds, on any machine."""
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()
    REDACTOR.text(text)
    REDACTOR.may_change(text.encode())
    assert time.process_time() - started < 10


def test_each_line_of_a_log_is_read() -> None:
    """Of many lines, those that hold something secret are changed, wherever they stand."""
    lines = ["sk-0123456789abcdef0123", *["a task; users"] * 3, "in /home/bob/x", "sk-", "/root/y"]
    shown = [MARK, *["a task; users"] * 3, "in ~/x", "sk-", "~/y"]
    assert REDACTOR.text("\n".join(lines)) == "\n".join(shown)


def test_data_is_redacted_throughout() -> None:
    """Keys and values of plain data, however deep."""
    assert REDACTOR.data({"s3cr3t-value": [1, None, ("x s3cr3t-value",)]}) == {
        MARK: [1, None, [f"x {MARK}"]]
    }


_PARTS = st.sampled_from(
    [
        *("Authorization: ", "authorization=", "Bearer ", "x-api-key: ", "API-KEY=", "https://"),
        *("ann:pw@host", "?token=", "&Access_Token=", "#key=", "hooks.slack.com/", "sk-", "hf_"),
        *("discord.com/api/webhooks/", "a.webhook.office.com/", "ghp_", "github_pat_", "glpat-"),
        *("xoxb-", "AKIA0123456789ABCDEF", "eyJ", "0123456789abcdefghij", ".", "/home/", "/Users/"),
        *("/root/", "C:\\Users\\", "bob", " ", "\n", '"', "=", "@", "İ", "K"),
    ]
)


@given(st.lists(_PARTS, max_size=12).map("".join))
def test_needles_hide_nothing(text: str) -> None:
    """What is looked for only in lines with its needle is found as if it were always looked for."""
    found = REDACTOR.known(text)
    for form in FORMS_OF_SECRETS:
        found = form.pattern.sub(form.instead, found)
    found = found.replace("/srv/people/ann", "~")
    assert REDACTOR.text(text) == HOMES.pattern.sub("~", found)


_SIGNS = st.sampled_from(
    ["…", "\xa0", "\u2003", "\x1c", "\t", "ı", "ſ", "é", "s3cr3t-value", "s3cr3t-v", "t-value"]
)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@given(text=st.lists(_PARTS | _SIGNS | st.text(max_size=2), max_size=12).map("".join))
def test_what_bytes_tell_to_be_clean_is_clean(encoding: str, text: str) -> None:
    """A file of which the bytes show that nothing has to be cut out need not be read as text."""
    data = text.encode(encoding, "ignore")
    if not REDACTOR.may_change(data):
        assert REDACTOR.text(data.decode(encoding)) == data.decode(encoding)
        assert REDACTOR.json(data) == data


@pytest.mark.parametrize("start", ["xai-", "pplx-", "nvapi-", "gsk_", "AIza", "ghp_", "sk-", "hf_"])
def test_tokens_of_known_services_are_cut_out_of_any_text(start: str) -> None:
    """The services whose keys a file may not hold are those whose keys no text shows."""
    token = start + "a1B2c3D4e5" * 4
    assert Redactor().text(f"the server says {token}.") == f"the server says {MARK}."
    assert Redactor().may_change(f"the server says {token}.".encode())
    assert without_tokens(f"key: {token}") == "key: [a secret]"
