"""Where a target answers, and what it is that answers there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from capgate.client.answer_limit import MaxTokensField

if TYPE_CHECKING:
    from capgate.serving.openrouter import Offer
    from capgate.serving.signature import Observation


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A live server for one target; plain values, so that it can be sent to a worker.

    Attributes:
        target: The target's id.
        base_url: The API's root, up to and with `/v1`.
        model: The name that requests carry.
        engine: The server software: `vllm`, `llamacpp`, `openrouter`, or `""` if unknown.
        identity: What answers there, as far as it is known: engine, version, weights,
            flags. Two endpoints of one identity give interchangeable answers.
        key: The key; kept out of `repr`.
        offer: What OpenRouter offers for the model, where it answers.
        apart: Whether its server mixes up models that it answers at the same time.
        salt: Sent to vLLM, which keeps what has another salt apart in its prefix cache.
        max_tokens_field: What `max_tokens` of a request is sent as.
        notes: What a person should know of it, one sentence each; reports repeat it.
        known: Whether `identity` names the weights by their content.
        observation: What was seen of the weights when the run first reached the server; None where
            nothing was looked for.
    """

    target: str
    base_url: str
    model: str
    engine: str
    identity: Mapping[str, Any]
    key: str | None = field(default=None, repr=False)
    offer: Offer | None = None
    apart: bool = False
    salt: str = ""
    max_tokens_field: MaxTokensField = "max_tokens"
    notes: tuple[str, ...] = ()
    known: bool = False
    observation: Observation | None = None
