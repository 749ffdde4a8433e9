"""A client that asks for completions of a text, for models without a chat template."""

from __future__ import annotations

from typing import Any

import pytest
from tests.doubles.replies import LOGPROBS, Reply
from tests.doubles.server import Server
from tests.unit.client.conftest import complete_text

from capgate.common.errors import ConfigError, RequestFault

BODY: dict[str, Any] = {"id": "cmpl-1", "object": "text_completion", "model": "base"}


def choice(**members: object) -> Reply:
    """A completion with one choice of these members."""
    return Reply(200, {**BODY, "choices": [{"index": 0, "finish_reason": "stop", **members}]})


def test_messages_become_one_text(server: Server) -> None:
    """The messages' texts stand below each other in `prompt`; other members stay."""
    messages = [
        {"role": "system", "content": "One."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Two"}, {"type": "text", "text": "."}],
        },
        {"role": "assistant", "content": "Three."},
    ]
    server.answer = lambda _: " Four."
    assert complete_text(server, messages=messages, max_tokens=7, seed=3).text == " Four."
    (asked,) = server.texts
    assert asked.body == {
        "model": "lora-a",
        "prompt": "One.\n\nTwo.\n\nThree.",
        "max_tokens": 7,
        "seed": 3,
    }
    assert not server.chats


def test_log_probabilities_are_asked_and_read_in_the_form_of_completions(server: Server) -> None:
    """The number of likeliest tokens is `logprobs`; lists beside each other are put together."""
    odds = {"tokens": [" A", "\n"], "token_logprobs": [-0.1, -0.2]}
    tops = {"top_logprobs": [{" A": -0.1, " B": -2.5}, None], "text_offset": [0, 2]}
    server.script(choice(text=" A\n", logprobs=odds | tops))
    found = complete_text(server, logprobs=True, top_logprobs=2).logprobs
    assert server.texts[0].body["logprobs"] == 2
    assert "top_logprobs" not in server.texts[0].body
    assert [(one.token, one.logprob, one.top) for one in found] == [
        (" A", -0.1, ((" A", -0.1), (" B", -2.5))),
        ("\n", -0.2, ()),
    ]


def test_llamacpps_log_probabilities_are_read(server: Server) -> None:
    """llama.cpp lists them with completions as it does with chats."""
    server.script(choice(text="A)", logprobs=LOGPROBS))
    assert [one.token for one in complete_text(server, logprobs=True).logprobs] == ["A", ")"]


def test_a_completion_without_a_text_is_a_fault(server: Server) -> None:
    """What holds no text is no wrong answer."""
    server.script(forever=choice())
    with pytest.raises(RequestFault) as caught:
        complete_text(server)
    assert caught.value.kind == "empty_choices"


def test_a_server_without_completions_is_told(server: Server) -> None:
    """The fault names the path that was asked."""
    server.script(forever=Reply(404, {"detail": "Not Found"}))
    with pytest.raises(RequestFault) as caught:
        complete_text(server)
    assert "/v1/completions" in str(caught.value)


def test_an_image_is_refused(server: Server) -> None:
    """A text has no place for an image."""
    content = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(ConfigError, match="more than texts"):
        complete_text(server, messages=[{"role": "user", "content": content}])
    assert not server.texts
