"""What is read of the tools that a model's answer asks to be called."""

from __future__ import annotations

from typing import Any

import pytest
from tests.doubles.replies import Reply, completion
from tests.doubles.server import Server
from tests.unit.client.conftest import Ask

from capgate.client.tool_requests import ToolRequest


def asking_for(*calls: object, provider: str = "") -> Reply:
    """A reply whose message has no text and asks for tools."""
    body = completion(None, finish_reason="tool_calls")
    body["choices"][0]["message"]["tool_calls"] = list(calls)
    if provider:
        body |= {"provider": provider, "usage": {"prompt_tokens": 9, "completion_tokens": 0}}
    return Reply(200, body)


def call(name: object = "add", arguments: object = '{"x": 1}', **other: object) -> dict[str, Any]:
    """A call as servers send it."""
    function = {"name": name, "arguments": arguments}
    return {"id": "call_9", "type": "function", "function": function} | other


def test_calls_are_read_in_order(server: Server, ask: Ask) -> None:
    """A reply without text whose message names tools is an answer with these calls."""
    server.script(asking_for(call(), call("sub", "{}", id="call_10")))
    answer = ask()
    assert answer.text == ""
    assert answer.finish_reason == "tool_calls"
    assert answer.tool_requests == (
        ToolRequest("call_9", "add", '{"x": 1}'),
        ToolRequest("call_10", "sub", "{}"),
    )


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (call(arguments={"x": 1}), ToolRequest("call_9", "add", '{"x":1}')),
        (call(arguments=None), ToolRequest("call_9", "add", "{}")),
        (call(id=None), ToolRequest("call-0", "add", '{"x": 1}')),
        (call(arguments="{broken"), ToolRequest("call_9", "add", "{broken")),
    ],
    ids=["object", "nothing", "no id", "broken"],
)
def test_loose_forms_are_read(server: Server, ask: Ask, sent: object, read: ToolRequest) -> None:
    """Arguments sent as an object or left out are read; broken ones stay as they came."""
    server.script(asking_for(sent))
    assert ask().tool_requests == (read,)


@pytest.mark.parametrize("sent", [None, 1, {}, {"function": None}, call(None), call("")])
def test_what_names_no_function_is_left_out(server: Server, ask: Ask, sent: object) -> None:
    """An entry that is no call of a function is no request."""
    server.script(asking_for(sent, call()))
    assert [one.function for one in ask().tool_requests] == ["add"]


def test_a_call_is_more_than_nothing(server: Server, ask: Ask) -> None:
    """A provider's reply of tool calls alone is not taken for one that generated nothing."""
    server.script(asking_for(call(), provider="Some"))
    assert len(ask().tool_requests) == 1


def test_a_plain_answer_asks_for_no_tool(ask: Ask) -> None:
    """An ordinary answer has no tool requests."""
    assert ask().tool_requests == ()
