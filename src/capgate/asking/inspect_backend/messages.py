"""Chat completions in Inspect's terms: the request that a task's messages make, and the answer.

Both runners ask and read through this module alone, so that they send and log the same.
`request_of` and `output_of` know texts, which are all that most benchmarks send; `any_request_of`
and `any_output_of` know tools, images and whatever else Inspect's own helpers translate.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    StopReason,
    TopLogprob,
    messages_to_openai,
    model_output_from_openai,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolFunction, ToolInfo

from capgate.client.replies import Completion
from capgate.common.errors import CapgateError

_FIELDS: Final = (
    *("max_tokens", "temperature", "top_p", "seed", "logprobs", "top_logprobs"),
    *("frequency_penalty", "presence_penalty", "reasoning_effort", "logit_bias"),
)
"""Generation settings that are members of a request, under the same names."""

SETTINGS: Final = frozenset({*_FIELDS, "stop_seqs", "response_schema", "extra_body"})
"""Generation settings that reach the server."""

_STOP_REASONS: Final[dict[str, StopReason]] = {
    "stop": "stop",
    "eos": "stop",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sample's answer tells beyond its text.

    Attributes:
        seconds: Wall time of the successful request alone.
        attempts: Requests made until then.
        finish_reason: The server's own word.
        cut_off: Whether the token limit ended the answer.
        served_by: What the server says answered.
        cost: US dollars, where the server says.
        endpoint: Which of the target's endpoints answered; `""` where the target has one.
    """

    seconds: float = 0.0
    attempts: int = 0
    finish_reason: str = ""
    cut_off: bool = False
    served_by: str = ""
    cost: float | None = None
    endpoint: str = ""


def facts_of(output: ModelOutput) -> Facts:
    """Returns what the provider noted beside an answer; empty for any other provider's."""
    noted = (output.metadata or {}).get("capgate")
    return Facts(**noted) if isinstance(noted, dict) else Facts()


_ids: Final = random.Random()
"""A generator of our own: tests that seed the common one would get each id twice."""


def new_id() -> str:
    """A new id of a message, event or sample; Inspect's own take longer than to write them."""
    return f"{_ids.getrandbits(128):032x}"


def logprob_settings(logprobs: int | None) -> GenerateConfig:
    """A target's own generation settings.

    Args:
        logprobs: The number of likeliest tokens to ask for at each place; None for none.
    """
    return GenerateConfig(logprobs=True if logprobs else None, top_logprobs=logprobs)


def request_of(
    model: str, messages: Iterable[ChatMessage], config: GenerateConfig
) -> dict[str, Any]:
    """The request that asks a model for the next message; of texts alone.

    Args:
        model: The served name.
        messages: The messages so far.
        config: Generation settings.

    Raises:
        CapgateError: A message is more than a text.
    """
    sent = []
    for message in messages:
        if not is_text(message):
            raise CapgateError(
                "its task sends the model more than texts, which takes Inspect's own loop",
                target=model,
                remedy="run it with --runner inspect",
            )
        sent.append({"role": message.role, "content": message.text})
    return _request(model, sent, config)


async def any_request_of(
    model: str,
    messages: list[ChatMessage],
    config: GenerateConfig,
    tools: Sequence[ToolInfo] = (),
    tool_choice: ToolChoice = "auto",
) -> dict[str, Any]:
    """The request that asks a model for the next message, whatever the messages hold.

    Args:
        model: The served name.
        messages: The messages so far.
        config: Generation settings.
        tools: Tools that the model may ask to be called.
        tool_choice: Which of them it may or must choose.

    Raises:
        RuntimeError: Chat completions have no form for a message's content, such as a video.
    """
    if not tools and all(map(is_text, messages)):
        return request_of(model, messages, config)
    request = _request(model, await messages_to_openai(messages), config)
    if tools:
        request["tools"] = [_tool(tool) for tool in tools]
        request["tool_choice"] = _choice(tool_choice)
        if config.parallel_tool_calls is not None:
            request["parallel_tool_calls"] = config.parallel_tool_calls
    return request


def is_text(message: ChatMessage) -> bool:
    """Whether a message is nothing but a text."""
    if message.role == "tool" or (message.role == "assistant" and message.tool_calls):
        return False
    content = message.content
    return isinstance(content, str) or all(part.type == "text" for part in content)


def _request(model: str, messages: Sequence[Any], config: GenerateConfig) -> dict[str, Any]:
    request: dict[str, Any] = {"model": model, "messages": messages}
    for name in _FIELDS:
        value = getattr(config, name)
        if value is not None:
            request[name] = value
    if config.stop_seqs:
        request["stop"] = config.stop_seqs
    if config.response_schema is not None:
        schema = config.response_schema
        form = {
            "name": schema.name,
            "schema": schema.json_schema.model_dump(exclude_none=True),
            "description": schema.description,
            "strict": schema.strict,
        }
        request["response_format"] = {
            "type": "json_schema",
            "json_schema": {name: value for name, value in form.items() if value is not None},
        }
    return request


def _tool(tool: ToolInfo) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters.model_dump(exclude_none=True),
    }
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    if isinstance(choice, ToolFunction):
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice == "any" else choice


def output_of(model: str, answer: Completion, served_by: str) -> ModelOutput:
    """An answer as Inspect's solvers and scorers read it, without the tools that it asks for.

    Args:
        model: The served name.
        answer: The answer.
        served_by: Which upstream provider and model gave it.
    """
    content: str | list[Content] = answer.text
    if answer.thought:
        content = [ContentReasoning(reasoning=answer.thought), ContentText(text=answer.text)]
    message = ChatMessageAssistant(content=content, source="generate", model=model, id=new_id())
    stop = _STOP_REASONS.get(answer.finish_reason, "unknown")
    choice = ChatCompletionChoice(
        message=message, stop_reason="max_tokens" if answer.cut_off else stop
    )
    if answer.logprobs:
        choice.logprobs = Logprobs(
            content=[
                Logprob(
                    token=entry.token,
                    logprob=entry.logprob,
                    top_logprobs=[TopLogprob(token=t, logprob=p) for t, p in entry.top],
                )
                for entry in answer.logprobs
            ]
        )
    return ModelOutput(
        model=answer.model or model,
        choices=[choice],
        completion=answer.text,
        usage=ModelUsage(
            input_tokens=answer.prompt_tokens,
            output_tokens=answer.completion_tokens,
            total_tokens=answer.prompt_tokens + answer.completion_tokens,
            reasoning_tokens=answer.reasoning_tokens or None,
            total_cost=answer.cost,
        ),
        metadata={
            "capgate": {
                "seconds": round(answer.seconds, 6),
                "attempts": answer.attempts,
                "finish_reason": answer.finish_reason,
                "cut_off": answer.cut_off,
                "served_by": served_by,
                "cost": answer.cost,
                **({"endpoint": answer.endpoint} if answer.endpoint else {}),
            }
        },
        response_id=answer.response_id or None,
        input_context_tokens=answer.prompt_tokens,
    )


async def any_output_of(model: str, answer: Completion, served_by: str) -> ModelOutput:
    """An answer as `output_of` tells it, with the tools that it asks to be called."""
    output = output_of(model, answer, served_by)
    if answer.tool_requests:
        output.message.tool_calls = await _tool_calls(answer)
    return output


async def _tool_calls(answer: Completion) -> list[ToolCall] | None:
    """The calls, their arguments read as Inspect reads those of its own providers."""
    calls = [
        {
            "id": one.id,
            "type": "function",
            "function": {"name": one.function, "arguments": one.arguments},
        }
        for one in answer.tool_requests
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    read = await model_output_from_openai(
        {
            "id": answer.response_id,
            "object": "chat.completion",
            "created": 0,
            "model": answer.model,
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
        }
    )
    return read.message.tool_calls
