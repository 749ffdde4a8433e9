"""One sample, run by us: the task's own solver and scorer around our own request.

It does what `inspect_ai.eval` does with a sample of one turn, through public interface alone.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from inspect_ai import Task
from inspect_ai.event import ErrorEvent, Event, ModelEvent, ScoreEvent
from inspect_ai.log import EvalError, EvalSample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageUser,
    GenerateConfig,
    ModelName,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score, Scorer, Target
from inspect_ai.solver import Solver, TaskState
from inspect_ai.util import registry_info

from capgate.asking.cost_limit import NotAskedError
from capgate.asking.inspect_backend.messages import logprob_settings, new_id, output_of, request_of
from capgate.asking.inspect_backend.task_record import TaskRecord
from capgate.asking.outcome import Fault
from capgate.asking.target_client import TargetClient
from capgate.common.errors import CapgateError, RequestFault

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample

MODEL_API: Final = "capgate"
"""The name of capgate's model API in Inspect."""


@dataclass
class EndedSample:
    """A sample that has ended.

    Attributes:
        sample: The sample, as logs hold it.
        fault: The fault that ended it; None where another error or none did.
        said: What the target's server wrote.
    """

    sample: EvalSample
    fault: Fault | None
    said: tuple[str, ...]


@dataclass
class _Attempt:
    """What happens to a sample while it runs.

    Attributes:
        began: When it began, on the clock of `time.monotonic`.
        events: What is logged of it.
        usage: Tokens of its requests.
        said: What the target's server wrote.
    """

    began: float
    events: list[Event] = field(default_factory=list)
    usage: ModelUsage | None = None
    said: list[str] = field(default_factory=list)

    def counted(self, usage: ModelUsage | None) -> None:
        """Adds the tokens of a request."""
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + usage


class SampleRunner:
    """Runs the samples of one task on one target.

    Args:
        task: The task. Its scorers ask no model by themselves.
        record: What logs record of the task.
        client: The way to the target.
        temperature: Sampling temperature.

    Attributes:
        model: The target's name in Inspect.
        config: The generation settings of each request.
        scorers: Name to scorer, as logs name them.
    """

    def __init__(
        self,
        task: Task,
        record: TaskRecord,
        client: TargetClient,
        temperature: float,
    ) -> None:
        self.model = f"{MODEL_API}/{client.model}"
        self.config = task.config.merge(GenerateConfig(temperature=temperature))
        self.scorers = named_scorers(task.scorer or [])
        self._name = ModelName(self.model)
        self._client = client
        self._solvers = solvers_of(task.solver)
        self._arguments = {
            name: recorded.options or {}
            for name, recorded in zip(self.scorers, record.scorers, strict=True)
        }
        # A solver asks with the same few settings each time; to merge them takes as long as to
        # send the request.
        self._merged = functools.lru_cache(maxsize=16)(self._merge)

    async def run(self, sample: Sample) -> EndedSample:
        """Runs a sample; what fails in it is its error."""
        attempt = _Attempt(time.monotonic())
        started = datetime.now(UTC)
        state = self._state(sample)
        error: EvalError | None = None
        fault: Fault | None = None
        try:
            for solver in self._solvers:
                state = await solver(state, functools.partial(self._generate, attempt))
                if state.completed:
                    break
            state.completed = True
            scores = state.scores = state.scores or {}
            for name, scorer in self.scorers.items():
                score = await scorer(state, Target(sample.target))
                if score is not None:
                    scores[name] = score
                    attempt.events.append(self._score_event(attempt, sample, name, score))
        except Exception as raised:
            if isinstance(raised, Fault):
                # Its traceback would keep this frame, and with it the sample, in memory.
                fault = raised.with_traceback(None)
            error = _error(raised, fault)
            attempt.events.append(ErrorEvent(error=error, **_about(attempt)))
        took = time.monotonic() - attempt.began
        ended = EvalSample(
            id=state.sample_id,
            epoch=1,
            input=sample.input,
            choices=sample.choices,
            target=sample.target,
            metadata=state.metadata,
            messages=state.messages,
            output=state.output,
            scores=state.scores,
            store=dict(state.store.items()),
            uuid=state.uuid,
            events=attempt.events,
            model_usage={} if attempt.usage is None else {self.model: attempt.usage},
            turn_count=sum(
                isinstance(event, ModelEvent) and event.error is None for event in attempt.events
            ),
            started_at=started.isoformat(),
            completed_at=datetime.now(UTC).isoformat(),
            total_time=round(took, 3),
            working_time=round(took, 3),
            error=error,
            error_retries=[],
        )
        return EndedSample(ended, fault, tuple(attempt.said))

    def _state(self, sample: Sample) -> TaskState:
        """The state in which Inspect hands a sample to its solver."""
        messages: list[ChatMessage]
        if isinstance(sample.input, str):
            messages = [ChatMessageUser(content=sample.input, source="input", id=new_id())]
        else:
            # Solvers change messages in place.
            messages = [
                message.model_copy(update={"source": "input"}, deep=True)
                for message in sample.input
            ]
        return TaskState(
            model=self._name,
            sample_id=sample.id or 0,
            epoch=1,
            input=sample.input,
            messages=messages,
            target=Target(sample.target),
            choices=sample.choices,
            metadata=dict(sample.metadata or {}),
            scores={},
            sample_uuid=new_id(),
        )

    async def _generate(
        self,
        attempt: _Attempt,
        state: TaskState,
        tool_calls: str = "loop",  # noqa: ARG002
        cache: object = None,  # noqa: ARG002
        **settings: Any,  # noqa: ANN401
    ) -> TaskState:
        """Asks the target for the next message: what a solver is handed as `generate`.

        Raises:
            RequestFault: There was no answer.
            NotAskedError: It could have passed `--max-cost`.
            CapgateError: The solver wants tools.
        """
        if state.tools:
            raise CapgateError(
                "its task gives the model tools, which takes Inspect's own loop",
                target=self._client.target,
                remedy="run it with --runner inspect",
            )
        config = self._config(settings)
        about = _about(attempt)
        asked = list(state.messages)
        request = request_of(self._client.model, asked, config)
        event: Callable[..., ModelEvent] = functools.partial(
            ModelEvent,
            model=self.model,
            input=asked,
            tools=[],
            tool_choice="none",
            config=config,
            **about,
        )
        try:
            answer = await self._client.complete(request, config.extra_body)
        except (RequestFault, NotAskedError) as fault:
            attempt.said.append(str(fault))
            nothing = ModelOutput.from_content(self.model, "")
            attempt.events.append(event(output=nothing, error=str(fault)))
            raise
        attempt.said += (answer.text, answer.thought, answer.model, answer.response_id)
        attempt.said += (answer.finish_reason, answer.provider)
        output = output_of(self._client.model, answer, self._client.served_by(answer))
        attempt.counted(output.usage)
        attempt.events.append(
            event(output=output, completed=datetime.now(UTC), working_time=answer.seconds)
        )
        state.output = output
        state.messages.append(output.message)
        return state

    def _config(self, settings: dict[str, Any]) -> GenerateConfig:
        """The settings of one request."""
        try:
            return self._merged(tuple(settings.items()))
        except TypeError:  # a setting that has no hash
            return self._merge(tuple(settings.items()))

    def _merge(self, settings: tuple[tuple[str, Any], ...]) -> GenerateConfig:
        own = logprob_settings(self._client.logprobs)
        return own.merge(self.config).merge(GenerateConfig(**dict(settings)))

    def _score_event(
        self, attempt: _Attempt, sample: Sample, name: str, score: Score
    ) -> ScoreEvent:
        return ScoreEvent(
            score=score,
            target=sample.target,
            scorer=name,
            scorer_args=self._arguments[name],
            model_usage=None if attempt.usage is None else {self.model: attempt.usage},
            **_about(attempt),
        )


def solvers_of(solver: Solver | Sequence[Solver]) -> list[Solver]:
    """A task's solvers one by one.

    A chain that is called notes its steps in the transcript of a sample of Inspect's own.
    """
    return list(solver) if isinstance(solver, Sequence) else [solver]


def named_scorers(scorers: Sequence[Scorer]) -> dict[str, Scorer]:
    """Scorers by the names that a sample's scores have: unique, and without a package."""
    named: dict[str, Scorer] = {}
    for scorer in scorers:
        name = plain = registry_info(scorer).name.split("/")[-1]
        again = 0
        while name in named:
            again += 1
            name = f"{plain}{again}"
        named[name] = scorer
    return named


def _about(attempt: _Attempt) -> dict[str, Any]:
    """An event's own id and when it happened."""
    return {"uuid": new_id(), "working_start": time.monotonic() - attempt.began}


def _error(raised: Exception, fault: Fault | None) -> EvalError:
    """An error as logs hold it; a fault explains itself, anything else has its traceback."""
    if fault is not None:
        return EvalError(message=str(fault), traceback="", traceback_ansi="")
    trace = "".join(traceback.format_exception(raised))
    message = str(getattr(raised, "message", repr(raised)))
    return EvalError(message=message, traceback=trace, traceback_ansi=trace)
