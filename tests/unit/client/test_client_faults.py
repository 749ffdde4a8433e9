"""Each way in which a server fails, against a server that fails so."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from tests.doubles import replies
from tests.doubles.replies import Reply
from tests.doubles.server import Server
from tests.unit.client.conftest import KEY, Ask, ask_at, fault_of_asking

from capgate.client.faults import Place, words_of
from capgate.common.errors import RequestFault

# reply, kind, status, a piece of the server's words, a piece of the remedy
FINAL = [
    (replies.UNAUTHORIZED, "unauthorized", 401, "Unauthorized", "api_key_env"),
    (replies.NO_CREDIT, "no_credit", 402, "Insufficient credits", "Add credit"),
    (replies.FORBIDDEN, "forbidden", 403, "may not use this model", "permissions"),
    (replies.MODERATION, "moderation", 403, "reasons: violence, self-harm", "not answered"),
    (replies.NO_MODEL, "model_not_found", 404, "`lora-a` does not exist", "/v1/models"),
    (replies.NO_ENDPOINTS, "model_not_found", 404, "No endpoints found", "/v1/models"),
    (replies.NO_ROUTE, "not_found", 404, "Not Found", "base_url"),
    (replies.NO_METHOD, "not_found", 405, "Method Not Allowed", "base_url"),
    (replies.PROMPT_TOO_LONG, "context_too_long", 400, "2048 tokens", "0-shot"),
    (replies.MAX_TOKENS_TOO_LONG, "context_too_long", 400, "max_tokens=5000", "max_output"),
    (replies.LLAMA_CONTEXT, "context_too_long", 400, "available context", "context"),
    (replies.BAD_TEMPERATURE, "bad_request", 400, "must be non-negative", "extra_body"),
    (replies.QUOTA, "quota", 429, "exceeded your current quota", "Raise the quota"),
    (replies.HTML, "not_json", 200, "please sign in", "base_url"),
    (replies.CREDIT_IN_200, "no_credit", 200, "Insufficient credits", "Add credit"),
    (replies.FILTERED, "moderation", 200, "content_filter", "another route"),
    (replies.MOVED, "redirected", 301, "", "base_url"),
]
TRANSIENT = [
    (replies.RATE_LIMITED, "rate_limited", 429, "20 requests per minute", "max_connections"),
    (replies.TIMED_OUT, "timeout", 408, "Request timed out", "max_connections"),
    (replies.ENGINE_DEAD, "server_error", 500, "EngineCore", "server's own log"),
    (replies.UPSTREAM_DOWN, "server_error", 502, "Lambda: upstream connect", "route"),
    (replies.BAD_GATEWAY, "server_error", 502, "502 Bad Gateway", "log"),
    (replies.LLAMA_LOADING, "server_error", 503, "Loading model", "log"),
    (replies.TRUNCATED, "bad_json", 200, "chatcmpl", "closed early"),
    (replies.EMPTY_CHOICES, "empty_choices", 200, '"choices": []', "log"),
    *(
        (
            Reply(200, replies.completion("") | {"choices": [choice]}),
            "empty_choices",
            200,
            said,
            "API",
        )
        for choice, said in [
            ({"index": 0, "text": "ANSWER: A"}, "ANSWER: A"),
            ({}, '"choices": [{}]'),
            ({"message": None}, '"message": null'),
            ({"message": {}}, '"message": {}'),
            ({"message": "ANSWER: A"}, "ANSWER: A"),
            ({"message": {"role": "assistant", "content": 7}}, '"content": 7'),
            ({"message": {"role": "assistant", "content": ["ANSWER: A"]}}, "ANSWER: A"),
            ({"message": {"role": "assistant", "content": {"text": "A"}}}, '"text": "A"'),
        ]
    ),
    (replies.ERROR_IN_200, "server_error", 200, "No available model provider", "route"),
    (replies.ERROR_IN_CHOICE, "server_error", 200, "worker died", "log"),
]


@pytest.mark.parametrize(("reply", "kind", "status", "said", "remedy"), FINAL)
def test_final_faults(
    server: Server, ask: Ask, reply: Reply, kind: str, status: int, said: str, remedy: str
) -> None:
    """A fault that asking again can't mend is raised after one request, with all its facts."""
    server.script(forever=reply)
    fault = fault_of_asking(ask)
    assert (fault.kind, fault.status, fault.attempts) == (kind, status, 1)
    assert len(server.chats) == 1
    _tells_all(fault, server, said, remedy)


@pytest.mark.parametrize(("reply", "kind", "status", "said", "remedy"), TRANSIENT)
def test_transient_faults(
    server: Server, ask: Ask, reply: Reply, kind: str, status: int, said: str, remedy: str
) -> None:
    """A fault that may pass is asked again a bounded number of times, then raised in full."""
    server.script(forever=reply)
    fault = fault_of_asking(ask, max_retries=2)
    assert (fault.kind, fault.status, fault.attempts) == (kind, status, 3)
    assert len(server.chats) == 3
    assert "after 3 attempts" in str(fault)
    _tells_all(fault, server, said, remedy)


@pytest.mark.parametrize("reply", [row[0] for row in TRANSIENT])
def test_transient_faults_pass(server: Server, ask: Ask, reply: Reply) -> None:
    """One bad moment costs one more request and no answer."""
    server.script(reply)
    answer = ask()
    assert (answer.attempts, len(server.chats)) == (2, 2)
    assert answer.text.startswith("ANSWER: ")


def _tells_all(fault: RequestFault, server: Server, said: str, remedy: str) -> None:
    text = str(fault)
    assert fault.target == "my-target"
    assert fault.url == f"{server.url}/chat/completions"
    assert said in fault.said
    for piece in ("my-target", fault.url, f"HTTP {fault.status}", said, remedy):
        assert piece in text
    assert "\n" not in text


def test_refused() -> None:
    """Where nothing listens, the fault says so within seconds."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    fault = _fault_at(url)
    assert (fault.kind, fault.status) == ("refused", None)
    assert f"no response from {url}/chat/completions" in str(fault)
    assert "Start the server" in fault.remedy


def test_unknown_host() -> None:
    """A host name that can't be resolved is called that."""
    fault = _fault_at("http://no-such-host.invalid/v1")
    assert (fault.kind, fault.status) == ("dns", None)
    assert "base_url" in fault.remedy


def test_tls(server: Server) -> None:
    """HTTPS to a server without TLS is not asked twice."""
    fault = _fault_at(server.url.replace("http:", "https:"))
    assert (fault.kind, fault.status, fault.attempts) == ("tls", None, 1)
    assert "http:// against https://" in fault.remedy


def test_not_http() -> None:
    """A port where something else than HTTP answers is called that."""

    async def main() -> RequestFault:
        async def chatter(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
            await writer.drain()
            writer.close()

        other = await asyncio.start_server(chatter, "127.0.0.1", 0)
        async with other:
            port = other.sockets[0].getsockname()[1]
            with pytest.raises(RequestFault) as caught:
                await ask_at(f"http://127.0.0.1:{port}/v1")
        return caught.value

    fault = asyncio.run(main())
    assert fault.status is None or fault.kind == "not_json"
    assert "base_url" in fault.remedy


@pytest.mark.parametrize("broken", [replies.disconnect, replies.break_off])
def test_broken_connection(server: Server, ask: Ask, broken: replies.Handler) -> None:
    """A connection that breaks is tried again as long as the server itself is there."""
    server.script(forever=broken)
    fault = fault_of_asking(ask, max_retries=2)
    assert (fault.kind, fault.status, fault.attempts) == ("disconnected", None, 3)
    assert len(server.chats) == 3
    server.script(broken)
    assert ask().attempts == 2


def test_hung_server(server: Server, ask: Ask) -> None:
    """A server that never answers is cut off after the time-out of one attempt."""
    server.script(forever=replies.hang)
    fault = fault_of_asking(ask, attempt_timeout=0.05, max_retries=1)
    assert (fault.kind, fault.status, fault.attempts) == ("timeout", None, 2)
    assert "0.05 s" in str(fault)


@pytest.mark.parametrize("content", [None, "", []])
def test_no_content_is_an_answer(server: Server, ask: Ask, content: object) -> None:
    """A model that wrote nothing has answered with nothing."""
    server.script(
        replies.Reply(
            200, replies.completion("", message={"content": content}, finish_reason="length")
        )
    )
    answer = ask()
    assert (answer.text, answer.finish_reason) == ("", "length")


def test_content_in_parts_is_an_answer(server: Server, ask: Ask) -> None:
    """A message in parts says what its texts say."""
    parts: Any = [{"type": "text", "text": "ANSWER"}, {"type": "text", "text": ": B"}]
    server.script(replies.Reply(200, replies.completion(parts)))
    assert ask().text == "ANSWER: B"


def test_key_is_never_shown(server: Server, ask: Ask) -> None:
    """A server that echoes the key, whole or in part, does not get it into the fault."""
    for echo in (f"Incorrect API key provided: {KEY}.", f"bad key {KEY[:18]}…", f"({KEY[6:]})"):
        server.script(Reply(401, {"error": {"message": echo}}))
        fault = fault_of_asking(ask)
        assert fault.kind == "unauthorized"
        assert "canary-0123" not in str(fault) + repr(fault)
        assert "456789abcdef" not in str(fault)
        assert "[key]" in fault.said


def test_key_is_cut_out_before_the_words_are_cut() -> None:
    """The bound on the server's words does not leave the beginning of the key behind."""
    place = Place("t", "http://h/v1", key=KEY)
    for at in range(360, 420):
        said = place.fault("unauthorized", "w", "r", said="x" * at + KEY).said
        assert "sk-" not in said


def test_words_are_made_fit_to_show(server: Server, ask: Ask) -> None:
    """Terminal escapes, line feeds and endless text in an error come out as one short line."""
    server.script(Reply(400, {"error": {"message": "a\x1b[31mred\nline " + "z" * 5000}}))
    fault = fault_of_asking(ask)
    assert "\x1b" not in fault.said
    assert "\n" not in fault.said
    assert len(fault.said) <= 400


@pytest.mark.parametrize("piece", ["<", "<script>", "<a", "</script", "<script>x</style>"])
def test_a_body_of_tags_costs_no_time(piece: str) -> None:
    """Megabytes of broken HTML are told at once; without a bound this would take hours."""
    said = words_of(None, piece.encode() * 1_000_000)
    assert len(said) <= 20_000


def test_words_of_a_page_are_its_text() -> None:
    """Scripts and styles are left out, closed or not."""
    page = b"<html><style>p{}</style><p>Bad <b>gateway</b></p><script>if (a < b) c()"
    assert words_of(None, page).split() == ["Bad", "gateway"]


def test_url_is_shown_without_credentials(server: Server) -> None:
    """User, password and query of a base URL are in no message."""
    server.script(forever=replies.NO_ROUTE)
    url = server.url.replace("127.0.0.1", "user:secret@127.0.0.1") + "?token=secret"
    fault = _fault_at(url)
    assert "secret" not in str(fault)


def test_redirect_names_where_to(server: Server, ask: Ask) -> None:
    """A redirect is not followed with the key; its address is shown without credentials."""
    server.script(replies.MOVED)
    fault = fault_of_asking(ask)
    assert "https://host.example/v1/chat/completions" in str(fault)
    assert "pw" not in str(fault)
    assert "key=1" not in str(fault)


def test_certificate_faults_are_tls() -> None:
    """A certificate that does not verify is a TLS fault with its reason."""
    from capgate.client.exchange import fault_of_exception

    error = ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate")
    fault = fault_of_exception(Place("t", "https://h/v1"), error, limit=1)
    assert fault.kind == "tls"
    assert "self-signed" in str(fault)


def _fault_at(url: str) -> RequestFault:
    with pytest.raises(RequestFault) as caught:
        asyncio.run(ask_at(url))
    return caught.value
