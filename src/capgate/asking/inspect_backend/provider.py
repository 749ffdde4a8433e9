"""Inspect's way to capgate's client: the `ModelAPI` named `capgate`.

```python
model = get_model(
    "capgate/my-adapter",           # the served name
    base_url="http://127.0.0.1:8000/v1",
    api_key=key,
    target="my-target",             # for faults
    limits=ClientLimits(connections=32),
    extra_body={"cache_prompt": False},
    memoize=False,
)
```

Importing this module registers it; an installed capgate is found by Inspect itself. It serves any
task of Inspect's: with tools, images, log-probabilities and forms of answers.

A request that fails raises its `RequestFault`. Inspect records it as the sample's error: the
sample is never scored, and the others go on under `fail_on_error=False`.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from inspect_ai.hooks import Hooks, RunEnd, hooks
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    get_model,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from capgate.asking.inspect_backend.direct_sample import MODEL_API
from capgate.asking.inspect_backend.messages import any_output_of, any_request_of, logprob_settings
from capgate.asking.inspect_backend.sample_faults import SampleFaults
from capgate.asking.inspect_backend.shard_log import recorded_args
from capgate.asking.target_client import TargetClient
from capgate.client.answer_limit import MaxTokensField
from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.common.errors import CapgateError
from capgate.common.redact import Redactor


class CapgateAPI(ModelAPI):
    """OpenAI-compatible chat completions by way of a `TargetClient`.

    Args:
        model_name: The served name.
        base_url: The API's root.
        api_key: The key; Inspect records no `api_key`, and nothing here shows it.
        config: Inspect's generation settings.
        target: Id of the target, for faults; the served name where empty.
        limits: Times and counts.
        extra_body: Further members of every request, such as a grammar.
        headers: Further headers of every request.
        max_tokens_field: What `max_tokens` is sent as, see `Client`.

    Attributes:
        target_client: The way that requests take.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        *,
        target: str = "",
        limits: ClientLimits | Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        max_tokens_field: MaxTokensField = "max_tokens",
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if not base_url:
            raise CapgateError(
                "no base_url was given", target=target or model_name, remedy="Set base_url"
            )
        if limits is not None and not isinstance(limits, ClientLimits):
            limits = ClientLimits(**limits)
        client = Client(
            base_url,
            target=target or model_name,
            model=model_name,
            key=api_key or "",
            limits=limits,
            headers=headers,
            max_tokens_field=max_tokens_field,
        )
        redactor = Redactor.of_environment(further=[api_key or ""])
        self.target_client = TargetClient(
            target or model_name, client, model_name, redactor=redactor, extra_body=extra_body
        )
        self._faults: SampleFaults | None = None

    def ask_through(self, client: TargetClient, faults: SampleFaults) -> None:
        """Takes another way to the same target, and leaves it open after an evaluation.

        Args:
            client: The way.
            faults: Where the faults of samples are noted from now on.
        """
        self.target_client = client
        self._faults = faults

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """Asks for the next message.

        Raises:
            RequestFault: There was no answer.
            NotAskedError: It could have passed `--max-cost`.
            CapgateError: A setting of the task can't be kept.
        """
        self._refuse(config)
        request = await any_request_of(self.model_name, input, config, tools, tool_choice)
        if self._faults is None:
            _close_after_evaluation(self)
        with nullcontext() if self._faults is None else self._faults.noted():
            answer = await self.target_client.complete(request, config.extra_body)
        return await any_output_of(self.model_name, answer, self.target_client.served_by(answer))

    def _refuse(self, config: GenerateConfig) -> None:
        """Refuses settings that would be lost otherwise, and the results be others' than wanted."""
        if (config.num_choices or 1) > 1:
            raise CapgateError(
                "a request for several answers at once is not supported",
                target=self.target_client.target,
                remedy="use epochs in place of num_choices",
            )
        if config.extra_headers:
            raise CapgateError(
                "headers of single requests are not supported",
                target=self.target_client.target,
                remedy="give the headers to the model (headers=…) in place of extra_headers",
            )

    def max_connections(self) -> int:
        """Returns the requests that may be in flight."""
        return self.target_client.client.limits.connections

    def connection_key(self) -> str:
        """Returns what parallelism is bounded by: this client."""
        return f"{self.target_client.client!r}-{id(self.target_client.client)}"

    def should_retry(self, ex: Exception) -> bool:  # noqa: ARG002
        """Returns False: the client has made all the attempts that make sense."""
        return False

    async def aclose(self) -> None:
        """Closes the connections of the running event loop."""
        _open.discard(self)
        await self.target_client.client.aclose()


_open: weakref.WeakSet[CapgateAPI] = weakref.WeakSet()


class _ClosingHooks(Hooks):
    """Closes the connections of an evaluation while its event loop still runs."""

    def enabled(self) -> bool:
        return bool(_open)

    async def on_run_end(self, data: RunEnd) -> None:  # noqa: ARG002
        for api in list(_open):
            await api.aclose()


def _close_after_evaluation(api: CapgateAPI) -> None:
    _register_hooks()
    _open.add(api)


@functools.cache
def _register_hooks() -> None:
    # Not at import: Inspect announces on the terminal all hooks that it finds at its start.
    hooks(name="capgate", description="Closes connections.")(_ClosingHooks)


@modelapi(name=MODEL_API)
def capgate_api() -> type[ModelAPI]:
    """Returns the provider's class, for Inspect's registry."""
    return CapgateAPI


def model_of(client: TargetClient, faults: SampleFaults) -> Model:
    """Inspect's handle on a target.

    Args:
        client: The way that its requests take; it stays open.
        faults: Where the faults of samples are noted.
    """
    config = logprob_settings(client.logprobs)
    # Inspect records the arguments, so that a log can be scored again; the client is none of them.
    model = get_model(
        f"{MODEL_API}/{client.model}",
        base_url=client.base_url,
        config=config,
        memoize=False,
        **recorded_args(client),
    )
    assert isinstance(model.api, CapgateAPI)
    model.api.ask_through(client, faults)
    return model
