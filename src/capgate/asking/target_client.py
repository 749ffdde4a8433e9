"""The way that each request to one target takes; it knows nothing of Inspect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from capgate.asking.completion_form import led, with_choices, with_lead
from capgate.asking.cost_limit import TargetCost
from capgate.asking.endpoint_clients import EndpointClients
from capgate.client.client import Client
from capgate.client.pacing import ModelTurns, OneAtATime
from capgate.client.replies import Completion
from capgate.common.redact import Redactor
from capgate.common.text import shortened
from capgate.serving.endpoint import Endpoint
from capgate.serving.openrouter import Offer

_answered = OneAtATime()


class TargetClient:
    """Asks one target for answers.

    Args:
        target: The target's id.
        client: The HTTP client of its server, or those of its servers.
        model: The served name.
        redactor: Cuts secrets out of what is kept of its answers.
        extra_body: Further members of every request, such as a grammar.
        logprobs: The number of likeliest tokens to ask for at each place; None for none.
        turns: Has one model at a time asked, where its server mixes models up.
        cost: What each request is paid from, where the run's cost is bounded.
        offer: What OpenRouter lists for the model, where it is asked there.
        completes: Whether the target is a base model that is asked to go on with a text.
        likeliest_of: The benchmark's letters where the likeliest is the answer; `""` where the
            target generates its answers.

    Attributes:
        target: The same; so are the next six.
        client: The same.
        model: The same.
        redactor: The same.
        extra_body: The same.
        logprobs: The same.
        cost: The same.
        begins_in_thought: Whether the model's prompts begin a thought that its answers only end.
            The answers tell; another process of the run may have told.
    """

    def __init__(
        self,
        target: str,
        client: Client | EndpointClients,
        model: str,
        *,
        redactor: Redactor,
        extra_body: Mapping[str, Any] | None = None,
        logprobs: int | None = None,
        turns: ModelTurns | None = None,
        cost: TargetCost | None = None,
        offer: Offer | None = None,
        completes: bool = False,
        likeliest_of: str = "",
    ) -> None:
        self.target = target
        self.client = client
        self.model = model
        self.redactor = redactor
        self.extra_body = dict(extra_body or {})
        self.logprobs = logprobs
        self.cost = cost
        self.begins_in_thought = False
        self._turns = turns or ModelTurns(apart=False)
        self._offer = offer
        self._completes = completes
        self._likeliest_of = likeliest_of

    @property
    def base_url(self) -> str:
        """The API's root, without credentials."""
        return self.client.base_url

    @property
    def given_up(self) -> bool:
        """Whether the client asks the target's server no more, since no answer comes."""
        return self.client.given_up

    @property
    def live(self) -> tuple[Endpoint, ...]:
        """The endpoints that are asked now, where the target has several."""
        return self.client.live if isinstance(self.client, EndpointClients) else ()

    @property
    def max_tokens_field(self) -> str:
        """What `max_tokens` of a request is sent as."""
        return self.client.answer_limit.field(self.model)

    async def complete(
        self, request: Mapping[str, Any], further: Mapping[str, Any] | None = None
    ) -> Completion:
        """Asks for one answer.

        Args:
            request: The chat request's JSON object, without the members of `extra_body`.
            further: Members of this request that replace others of their names.

        Returns:
            The answer. Of a huge text the beginning and the end are kept.

        Raises:
            RequestFault: There was no answer.
            NotAskedError: It could have passed `--max-cost`.
        """
        body = {**request, **self.extra_body, **(further or {})}
        if self._completes:
            likeliest_of = self._likeliest_of
            body = with_choices(body, likeliest_of) if likeliest_of else led(body)
        reservation = None if self.cost is None else self.cost.reservation(body)
        async with self._turns.of(self.model):
            answer = await self.client.complete(body, reservation)
        # The request that waits for the place is sent before this answer is processed.
        await _answered.enter()
        answer = self._without_open_thought(answer)
        if self._completes:
            answer = with_lead(answer)
        return replace(answer, text=shortened(answer.text), thought=shortened(answer.thought))

    def served_by(self, answer: Completion) -> str:
        """Which upstream provider and model gave an answer, as its row records them."""
        if self._offer is None:
            return answer.served_by
        return self._offer.served_by(answer.provider, answer.model)

    def _without_open_thought(self, answer: Completion) -> Completion:
        """Sets an answer aside that was cut off in a thought which its prompt had begun.

        Such a text holds no mark of a thought. Other answers of the same model tell: theirs hold
        the end of a thought that they do not begin.
        """
        if answer.unopened:
            self.begins_in_thought = True
        elif self.begins_in_thought and answer.cut_off:
            thought = "\n".join(filter(None, (answer.thought, answer.text)))
            return replace(answer, text="", thought=thought)
        return answer
