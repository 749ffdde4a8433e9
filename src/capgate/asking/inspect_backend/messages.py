"""Chat completions in Inspect's terms: the request that a task's messages make, and the answer.

Both runners ask and read through this module alone, so that they send and log the same.
"""

from __future__ import annotations

from collections.abc import Iterable
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
)

from capgate.client.replies import Completion

_FIELDS: Final = (
    *("max_tokens", "temperature", "top_p", "seed", "logprobs", "top_logprobs"),
    *("frequency_penalty", "presence_penalty", "reasoning_effort"),
)
"""Generation settings that are members of a request, under the same names."""

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
    """

    seconds: float = 0.0
    attempts: int = 0
    finish_reason: str = ""
    cut_off: bool = False
    served_by: str = ""
    cost: float | None = None


def facts_of(output: ModelOutput) -> Facts:
    """Returns what the provider noted beside an answer; empty for any other provider's."""
    noted = (output.metadata or {}).get("capgate")
    return Facts(**noted) if isinstance(noted, dict) else Facts()


def request_of(
    model: str, messages: Iterable[ChatMessage], config: GenerateConfig
) -> dict[str, Any]:
    """The request that asks a model for the next message.

    Args:
        model: The served name.
        messages: The messages so far.
        config: Generation settings.

    Raises:
        NotImplementedError: A message has content other than text.
    """
    sent = []
    for message in messages:
        content = message.content
        if not isinstance(content, str) and any(part.type != "text" for part in content):
            raise NotImplementedError("the capgate provider sends text only")
        sent.append({"role": message.role, "content": message.text})
    request: dict[str, Any] = {"model": model, "messages": sent}
    for name in _FIELDS:
        value = getattr(config, name)
        if value is not None:
            request[name] = value
    if config.stop_seqs:
        request["stop"] = config.stop_seqs
    return request


def output_of(model: str, answer: Completion, served_by: str) -> ModelOutput:
    """An answer as Inspect's solvers and scorers read it.

    Args:
        model: The served name.
        answer: The answer.
        served_by: Which upstream provider and model gave it.
    """
    content: str | list[Content] = answer.text
    if answer.thought:
        content = [ContentReasoning(reasoning=answer.thought), ContentText(text=answer.text)]
    message = ChatMessageAssistant(content=content, source="generate", model=model)
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
            }
        },
        response_id=answer.response_id or None,
    )
