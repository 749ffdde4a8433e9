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
sample is never scored, and the others go on under `fail_on_error=False`. Inspect keeps only an
exception's message, so the exception is kept here until the sample ends, see `listen`.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from inspect_ai.hooks import Hooks, RunEnd, SampleEnd, hooks
from inspect_ai.log import Transcript, transcript
from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelAPI, ModelOutput, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo

from capgate.asking.cost_limit import NotAskedError
from capgate.asking.inspect_backend.messages import any_output_of, any_request_of
from capgate.asking.target_client import TargetClient
from capgate.client.answer_limit import MaxTokensField
from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.common.errors import CapgateError, RequestFault
from capgate.common.redact import Redactor

Fault = RequestFault | NotAskedError
"""Why a question has no answer."""


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
        target_client: The way that requests take; made from the others where None.

    Attributes:
        target_client: The same.
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
        target_client: TargetClient | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if not base_url:
            raise CapgateError(
                "no base_url was given", target=target or model_name, remedy="Set base_url"
            )
        if target_client is None:
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
            target_client = TargetClient(
                target or model_name, client, model_name, redactor=redactor, extra_body=extra_body
            )
        self.target_client = target_client

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
        _register_hooks()
        _open.add(self)
        request = await any_request_of(self.model_name, input, config, tools, tool_choice)
        try:
            answer = await self.target_client.complete(request, config.extra_body)
        except (RequestFault, NotAskedError) as fault:
            # A copy has no traceback, which would keep the sample's frames in memory.
            _faults[transcript()] = fault.copy() if isinstance(fault, RequestFault) else fault
            raise
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
_faults: weakref.WeakKeyDictionary[Transcript, Fault] = weakref.WeakKeyDictionary()
"""A sample's transcript to the fault that its latest failed request ended with."""

Listener = Callable[[SampleEnd, Fault | None], None]
_listeners: list[Listener] = []


class CapgateHooks(Hooks):
    """Does what is possible only inside an evaluation."""

    def enabled(self) -> bool:
        """Returns whether there is anything to do."""
        return bool(_listeners) or bool(_open)

    async def on_sample_end(self, data: SampleEnd) -> None:
        """Hands the sample, and its fault, to the listeners."""
        fault = _faults.pop(transcript(), None)
        for listener in _listeners:
            # A solver may have caught the fault and asked again.
            listener(data, fault if data.sample.error is not None else None)

    async def on_run_end(self, data: RunEnd) -> None:  # noqa: ARG002
        """Closes the connections while their event loop still runs."""
        for api in list(_open):
            await api.aclose()


@functools.cache
def _register_hooks() -> None:
    # Not at import: Inspect announces on the terminal all hooks that it finds at its start.
    hooks(name="capgate", description="Closes connections; hands out finished samples.")(
        CapgateHooks
    )


def listen(listener: Listener) -> Callable[[], None]:
    """Calls `listener` with every finished sample until the returned function is called.

    The listener also gets the fault that ended the sample; None where another error or none did.
    """
    _register_hooks()
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


@modelapi(name="capgate")
def capgate_api() -> type[ModelAPI]:
    """Returns the provider's class, for Inspect's registry."""
    return CapgateAPI


def model_of(client: TargetClient, *, base_url: str, logprobs: int | None) -> Model:
    """See `capgate.asking.inspect_calls.model_of`."""
    config = GenerateConfig(logprobs=True if logprobs else None, top_logprobs=logprobs)
    # What the decorator has made of it: it takes the class's own arguments.
    make: Any = capgate_api
    api: ModelAPI = make(
        model_name=client.model, base_url=base_url, config=config, target_client=client
    )
    # For the log. The client itself must not get there.
    recorded = {
        "target": client.target,
        "limits": asdict(client.client.limits),
        "extra_body": client.extra_body,
        "max_tokens_field": client.max_tokens_field,
    }
    return Model(api, config, recorded)


def redactor_of(models: Iterable[object]) -> Redactor:
    """Cuts out of what is kept of models' answers what their APIs know to be secret.

    A model may repeat what its server's configuration told it. That is cut out of what is kept,
    and never of what is scored: a key can be a word of the answer's form.
    """
    apis = (getattr(model, "api", None) for model in models)
    found = [api.target_client.redactor for api in apis if isinstance(api, CapgateAPI)]
    if len(found) == 1:
        return found[0]
    return Redactor.together(found) if found else Redactor.of_environment()
