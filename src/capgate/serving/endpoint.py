"""The address of a target's server, and what is known of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from capgate.client.answer_limit import MaxTokensField
from capgate.client.text_completions import PromptFormat

if TYPE_CHECKING:
    from capgate.serving.addresses import Address
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
        identity: What is known of the server: engine, version, weights, flags. Answers of two
            endpoints with the same identity are interchangeable.
        key: The key; kept out of `repr`.
        offer: What OpenRouter offers for the model; None for other servers.
        apart: Whether its server mixes up models that it answers at the same time.
        salt: Sent to vLLM, whose prefix cache keeps requests with different salts apart.
        max_tokens_field: The name under which requests send `max_tokens`.
        prompt_format: Whether it is asked for chats, or for completions of a text.
        notes: What a person should know about it, one sentence each; reports repeat it.
        known: Whether `identity` names the weights by their content.
        observation: What the run found out about the weights when it first reached the server;
            None if it did not observe them.
        place: Its name among the target's endpoints, such as `gpu1:8000`; `""` for the only one.
        others: The target's other endpoints that answer, each proven by itself.
        absent: Where the target has further endpoints, which did not answer; they may be proven
            later.
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
    prompt_format: PromptFormat = "chat"
    notes: tuple[str, ...] = ()
    known: bool = False
    observation: Observation | None = None
    place: str = ""
    others: tuple[Endpoint, ...] = ()
    absent: tuple[Address, ...] = ()

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """This endpoint and the target's others that answer."""
        return (self, *self.others)

    @property
    def version(self) -> str:
        """The server's distribution and version, as far as it tells; `""` else."""
        return str(self.identity.get("engine") or self.identity.get("version") or "")

    @property
    def engine_fields(self) -> dict[str, Any]:
        """Members of each request without which the engine's answers would not repeat."""
        # llama.cpp: a reused prompt cache changes temperature-0 answers from run to run.
        return {"cache_prompt": False} if self.engine == "llamacpp" else {}
