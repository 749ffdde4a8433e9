"""The provider serves any task: images, tools, settings of requests and forms of answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    ResponseSchema,
)
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import Tool, ToolChoice, ToolFunction, tool
from inspect_ai.util import JSONSchema
from tests.doubles.replies import Reply, completion
from tests.doubles.server import Server, answer
from tests.unit.asking.test_provider import model_of

from capgate.common.errors import CapgateError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def ask_once(model: Model, *messages: ChatMessage, **options: Any) -> ModelOutput:  # noqa: ANN401
    """Asks outside of an evaluation."""

    async def main() -> ModelOutput:
        async with model:
            return await model.generate(list(messages), **options)

    return asyncio.run(main())


def test_text_in_parts_is_sent_as_one_text(server: Server) -> None:
    """A message whose content is texts alone is sent as one text."""
    ask_once(model_of(server), ChatMessageUser(content=[ContentText(text="2+2=?")]))
    assert server.chats[0].body["messages"] == [{"role": "user", "content": "2+2=?"}]


def test_images_are_sent(server: Server) -> None:
    """A message with an image goes out as text and image parts, the others as texts."""
    server.answer = lambda _: "a pixel"
    picture = "data:image/png;base64,iVBORw0KGgo="
    shown = [ContentText(text="What is it?"), ContentImage(image=picture, detail="low")]
    output = ask_once(
        model_of(server), ChatMessageSystem(content="Be brief."), ChatMessageUser(content=shown)
    )
    assert output.completion == "a pixel"
    assert server.chats[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
            ],
        },
    ]


def test_all_settings_of_a_request_are_sent(server: Server) -> None:
    """Stop sequences, biases, penalties and the form of the answer reach the server."""
    schema = ResponseSchema(
        name="grade",
        json_schema=JSONSchema(type="object", properties={"grade": JSONSchema(type="integer")}),
        strict=True,
    )
    config = GenerateConfig(
        stop_seqs=["END"],
        logit_bias={42: 10.0},
        frequency_penalty=0.5,
        presence_penalty=0.25,
        top_p=0.9,
        reasoning_effort="low",
        response_schema=schema,
        extra_body={"min_p": 0.1},
    )
    ask_once(model_of(server), ChatMessageUser(content="Grade it."), config=config)
    body = server.chats[0].body
    assert body["stop"] == ["END"]
    assert body["logit_bias"] == {"42": 10.0}
    assert (body["frequency_penalty"], body["presence_penalty"]) == (0.5, 0.25)
    assert (body["top_p"], body["reasoning_effort"], body["min_p"]) == (0.9, "low", 0.1)
    form = {"type": "object", "properties": {"grade": {"type": "integer"}}}
    sent = body["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"]) == ("grade", True)
    assert form.items() <= sent["schema"].items()


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (GenerateConfig(num_choices=2), "epochs"),
        (GenerateConfig(extra_headers={"X-Team": "a"}), "headers="),
    ],
    ids=["num_choices", "extra_headers"],
)
def test_settings_that_would_be_lost_are_refused(
    server: Server, config: GenerateConfig, word: str
) -> None:
    """Nothing is asked where a setting can't be kept; the message says what to use instead."""
    with pytest.raises(CapgateError, match=word):
        ask_once(model_of(server), ChatMessageUser(content="2+2=?"), config=config)
    assert not server.chats


@tool
def adder() -> Tool:
    """A tool that adds."""

    async def execute(x: int, y: int) -> int:
        """Adds two numbers.

        Args:
            x: The first.
            y: The second.
        """
        return x + y

    return execute


def call_of(name: str, arguments: str) -> Reply:
    """A reply that asks for a tool."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    body = completion(None, finish_reason="tool_calls")
    body["choices"][0]["message"]["tool_calls"] = [call]
    return Reply(200, body)


def test_a_task_with_tools_works(server: Server, tmp_path: Path) -> None:
    """A task's tools are offered, called as the model asks, and their results sent back."""
    server.script(call_of("adder", '{"x": 2, "y": 3}'), answer("It is 5."))
    solved = Task(
        dataset=[Sample(input="2+3=?", target="5")],
        solver=[use_tools(adder()), generate()],
        scorer=includes(),
    )
    (log,) = eval(solved, model=model_of(server), log_dir=str(tmp_path), display="none")
    assert log.status == "success"
    (sample,) = log.samples or []
    assert (sample.scores or {})["includes"].value == "C"
    first, second = (asked.body for asked in server.chats)
    (offered,) = first["tools"]
    assert offered["type"] == "function"
    assert offered["function"]["name"] == "adder"
    assert list(offered["function"]["parameters"]["properties"]) == ["x", "y"]
    assert first["tool_choice"] == "auto"
    asked, given = second["messages"][1:]
    assert asked["role"] == "assistant"
    assert asked["tool_calls"][0]["id"] == "call_1"
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"x": 2, "y": 3}
    assert given == {"role": "tool", "tool_call_id": "call_1", "content": "5"}


def test_broken_arguments_of_a_tool_are_told_to_the_model(server: Server, tmp_path: Path) -> None:
    """A call whose arguments are no JSON is answered with the error, and the model goes on."""
    server.script(call_of("adder", '{"x": 2,'), answer("It is 5."))
    solved = Task(
        dataset=[Sample(input="2+3=?", target="5")],
        solver=[use_tools(adder()), generate()],
        scorer=includes(),
    )
    (log,) = eval(solved, model=model_of(server), log_dir=str(tmp_path), display="none")
    assert log.status == "success"
    assert "Error" in server.chats[1].body["messages"][-1]["content"]


def test_texts_are_sent_alike_with_tools_and_without(server: Server) -> None:
    """The messages of a request do not depend on whether the model may call tools."""
    said: list[ChatMessage] = [
        ChatMessageSystem(content="Be brief."),
        ChatMessageUser(content="2+3=?"),
        ChatMessageAssistant(content="Five."),
        ChatMessageUser(content="Sure? é"),
    ]
    ask_once(model_of(server), *said)
    ask_once(model_of(server), *said, tools=[adder()])
    without, with_tools = (asked.body["messages"] for asked in server.chats)
    assert without == with_tools
    assert [list(message) for message in without] == [["role", "content"]] * 4


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("any", "required"),
        (ToolFunction(name="adder"), {"type": "function", "function": {"name": "adder"}}),
    ],
    ids=["any", "one"],
)
def test_the_choice_of_tools_is_sent(server: Server, choice: ToolChoice, sent: object) -> None:
    """Whether the model must call a tool, or which, is told in the API's own words."""
    ask_once(
        model_of(server), ChatMessageUser(content="2+3=?"), tools=[adder()], tool_choice=choice
    )
    assert server.chats[0].body["tool_choice"] == sent
