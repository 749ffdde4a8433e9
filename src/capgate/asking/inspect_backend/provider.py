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

Importing this module registers it; an installed capgate is found by Inspect itself.

A request that fails raises its `RequestFault`. Inspect records it as the sample's error
(the sample is never scored, its siblings go on under `fail_on_error=False`) and keeps of
an exception only its message, so `fault_of` finds the typed fault again by that.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from inspect_ai.hooks import Hooks, RunEnd, SampleEnd, TaskStart, hooks
from inspect_ai.log import EvalSample
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
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    TopLogprob,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from capgate.asking.cost_limit import NotAskedError, TargetCost
from capgate.client.answer_limit import MaxTokensField
from capgate.client.client import Client, Reservation
from capgate.client.limits import ClientLimits
from capgate.client.pacing import ModelTurns, OneAtATime
from capgate.client.replies import Completion
from capgate.common.errors import CapgateError, RequestFault
from capgate.common.redact import Redactor
from capgate.common.text import shortened
from capgate.serving.openrouter import Offer

_STOP_REASONS: dict[str, StopReason] = {
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


class CapgateAPI(ModelAPI):
    """OpenAI-compatible chat completions over `capgate.client.client.Client`.

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
        self.client = Client(
            base_url,
            target=target or model_name,
            model=model_name,
            key=api_key or "",
            limits=limits,
            headers=headers,
            max_tokens_field=max_tokens_field,
        )
        self.turns: ModelTurns | None = None
        self.target_cost: TargetCost | None = None
        self.offer: Offer | None = None
        self.redactor = Redactor.of_environment(further=[api_key or ""])
        self.begins_in_thought = False
        self._extra_body = dict(extra_body or {})
        self._faults: dict[str, RequestFault] = {}
        self._refusals: set[str] = set()

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answers one question.

        Raises:
            RequestFault: No answer was had.
            NotAskedError: It could have passed `--max-cost`.
            NotImplementedError: The task wants tools, or content other than text.
        """
        if tools:
            raise NotImplementedError("the capgate provider has no tools")
        _register_hooks()
        _open.add(self)
        request = self._request(input, config)
        reservation = None if self.target_cost is None else self.target_cost.reservation(request)
        try:
            answer = self._without_open_thought(await self._complete(request, reservation))
        except NotAskedError as refusal:
            self._refusals.add(str(refusal))
            raise
        except RequestFault as fault:
            self._faults.setdefault(fault.message, fault.copy())
            raise
        served_by = answer.served_by
        if self.offer is not None:
            served_by = self.offer.served_by(answer.provider, answer.model)
        answer = replace(answer, text=shortened(answer.text), thought=shortened(answer.thought))
        return _output(self.model_name, answer, served_by)

    async def _complete(
        self, request: Mapping[str, Any], reservation: Reservation | None
    ) -> Completion:
        if self.turns is None:
            answer = await self.client.complete(request, reservation)
        else:
            await self.turns.enter(self.model_name)
            try:
                answer = await self.client.complete(request, reservation)
            finally:
                self.turns.leave()
        # Whoever waits for the place sends before this answer is dealt with.
        await _answered.enter()
        return answer

    def _without_open_thought(self, answer: Completion) -> Completion:
        """Sets an answer aside that was cut off in a thought which its prompt had begun.

        Such a text holds no mark of a thought. Others of the same model tell: theirs hold the end
        of a thought that they do not begin.
        """
        if answer.unopened:
            self.begins_in_thought = True
        elif self.begins_in_thought and answer.cut_off:
            thought = "\n".join(filter(None, (answer.thought, answer.text)))
            return replace(answer, text="", thought=thought)
        return answer

    def refused(self, message: str) -> bool:
        """Whether a sample's error says that its question was not put."""
        return message in self._refusals

    def fault(self, message: str) -> RequestFault | None:
        """Returns the fault whose message Inspect recorded, or None."""
        return self._faults.get(message)

    def max_connections(self) -> int:
        """Returns the requests that may be in flight."""
        return self.client.limits.connections

    def connection_key(self) -> str:
        """Returns what parallelism is bounded by: this client."""
        return f"{self.client!r}-{id(self.client)}"

    def should_retry(self, ex: Exception) -> bool:  # noqa: ARG002
        """Returns False: the client has made all the attempts that make sense."""
        return False

    async def aclose(self) -> None:
        """Closes the connections of the running event loop."""
        _open.discard(self)
        await self.client.aclose()

    def _request(self, input: list[ChatMessage], config: GenerateConfig) -> dict[str, Any]:
        messages = []
        for message in input:
            content = message.content
            if not isinstance(content, str) and any(part.type != "text" for part in content):
                raise NotImplementedError("the capgate provider sends text only")
            messages.append({"role": message.role, "content": message.text})
        request: dict[str, Any] = {"model": self.model_name, "messages": messages}
        for name in ("max_tokens", "temperature", "top_p", "seed", "logprobs", "top_logprobs"):
            value = getattr(config, name)
            if value is not None:
                request[name] = value
        if config.stop_seqs:
            request["stop"] = config.stop_seqs
        if config.frequency_penalty is not None:
            request["frequency_penalty"] = config.frequency_penalty
        if config.presence_penalty is not None:
            request["presence_penalty"] = config.presence_penalty
        if config.reasoning_effort is not None:
            request["reasoning_effort"] = config.reasoning_effort
        request.update(self._extra_body)
        if config.extra_body:
            request.update(config.extra_body)
        return request


_answered = OneAtATime()
_open: weakref.WeakSet[CapgateAPI] = weakref.WeakSet()
_listeners: list[Callable[[SampleEnd], None]] = []
_jobs: dict[str, tuple[str, str]] = {}

LOOK = "capgate_look"
"""The key of a task's metadata that says why it is asked (`store.shard.Look`)."""

JOB = "capgate_job"
"""The key of a task's metadata that says whose job it is, see `job_of`."""


class CapgateHooks(Hooks):
    """Does what only runs inside an eval can do."""

    def enabled(self) -> bool:
        """Returns whether there is anything to do."""
        return bool(_listeners) or bool(_open)

    async def on_task_start(self, data: TaskStart) -> None:
        """Notes which job an eval is."""
        job = (data.spec.metadata or {}).get(JOB)
        if job is not None:
            _jobs[data.eval_id] = (str(job), data.spec.task)

    async def on_sample_end(self, data: SampleEnd) -> None:
        """Hands the sample to whoever listens."""
        for listener in _listeners:
            listener(data)

    async def on_run_end(self, data: RunEnd) -> None:  # noqa: ARG002
        """Closes the connections while their event loop still runs."""
        for api in list(_open):
            await api.aclose()


@functools.cache
def _register_hooks() -> None:
    # Not at import: Inspect announces on the terminal whatever hooks it finds at its start.
    hooks(name="capgate", description="Closes connections; hands out finished samples.")(
        CapgateHooks
    )


def listen(listener: Callable[[SampleEnd], None]) -> Callable[[], None]:
    """Calls `listener` with every finished sample until the returned function is called."""
    _register_hooks()
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def job_of(eval_id: str) -> tuple[str, str]:
    """Returns whose job the eval with that id is, and the name of its task.

    Raises:
        KeyError: Its task's metadata has no `JOB`, or it has not started.
    """
    return _jobs[eval_id]


@modelapi(name="capgate")
def capgate_api() -> type[ModelAPI]:
    """Returns the provider's class, for Inspect's registry."""
    return CapgateAPI


def fault_of(model: Model, sample: EvalSample) -> RequestFault | None:
    """Returns the fault that ended a sample, or None where another error or none did.

    Args:
        model: The model that was asked, of the `capgate` provider.
        sample: The sample as Inspect hands it out.
    """
    if sample.error is None or not isinstance(model.api, CapgateAPI):
        return None
    return model.api.fault(sample.error.message)


def given_up(model: Model) -> bool:
    """Whether the client asks the model's server no more, since no answer comes."""
    return isinstance(model.api, CapgateAPI) and model.api.client.breaker.fault is not None


def was_refused(model: Model, sample: EvalSample) -> bool:
    """Whether a sample's question was not put, since it could have passed `--max-cost`."""
    return (
        sample.error is not None
        and isinstance(model.api, CapgateAPI)
        and model.api.refused(sample.error.message)
    )


def facts_of(output: ModelOutput) -> Facts:
    """Returns what the provider noted beside an answer; empty for any other provider's."""
    noted = (output.metadata or {}).get("capgate")
    return Facts(**noted) if isinstance(noted, dict) else Facts()


def redactor_of(models: Iterable[object]) -> Redactor:
    """What must not be kept of the answers of models: what their APIs know to be secret.

    A model may repeat what its server's configuration told it. It is cut out of what is kept,
    and never of what is scored: a key can be a word of the answer's form.
    """
    apis = (getattr(model, "api", None) for model in models)
    found = [api.redactor for api in apis if isinstance(api, CapgateAPI)]
    if len(found) == 1:
        return found[0]
    return Redactor.together(found) if found else Redactor.of_environment()


def _output(model: str, answer: Completion, served_by: str) -> ModelOutput:
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
