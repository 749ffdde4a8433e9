"""A target made ready to be asked, whole and in one step."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from capgate.asking.adoption import ADOPTED_BY, answers_alike
from capgate.asking.cost_limit import CostLimit, TargetCost
from capgate.asking.fingerprint import as_kept, fingerprint, request_fields
from capgate.asking.inspect_calls import model_of
from capgate.asking.ready_target import ReadyTarget
from capgate.asking.target_client import TargetClient
from capgate.asking.weights import with_weights
from capgate.benchmarks.mmlu.task import MmluTask
from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.pacing import ModelTurns
from capgate.common.errors import CapgateError, ConfigError
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.sharing import asking
from capgate.store.answer_store import Store

if TYPE_CHECKING:
    from inspect_ai.model import Model


def _apart_where_found() -> ModelTurns:
    return ModelTurns(apart=False)


@dataclass
class TargetMaker:
    """Makes the targets of one process of a run ready to be asked.

    Attributes:
        store: Where answers and earlier looks at servers are kept.
        settings: The run's settings.
        mmlu_task: The benchmark's task.
        run: The run's id.
        logs: Folder for Inspect's logs.
        share: Into how many processes a target's connections are divided.
        cost_limit: What the run may spend, where it is bounded.
        tell: Shows a line once in the run: takes its topic and the line.
    """

    store: Store
    settings: Settings
    mmlu_task: MmluTask
    run: str
    logs: Path
    share: int
    cost_limit: CostLimit | None
    tell: Callable[[str, str], None]
    _turns: defaultdict[str, ModelTurns] = field(
        default_factory=lambda: defaultdict(_apart_where_found)
    )

    def make(self, target: Target, endpoint: Endpoint) -> ReadyTarget:
        """Makes a target ready to be asked.

        Raises:
            ConfigError: Its server can't do what the target asks for, or its price is not
                known where the run's cost is bounded.
        """
        client = self._client(target, endpoint)
        model = model_of(client, base_url=endpoint.base_url, logprobs=target.logprobs)
        plain = fingerprint(target, endpoint, self.settings, self.mmlu_task)
        notes: list[str] = []
        known = with_weights(
            plain,
            endpoint,
            self.store,
            prompt=self.mmlu_task.prompt_hash,
            run=self.run,
            adopt=lambda kept: self._answers_alike(model, kept, endpoint),
            say=notes.append,
        )
        known, outdated = as_kept(known, self.store, self.mmlu_task.prompt_hash)
        notes += outdated
        for note in notes:
            self.tell(f"weights of {target.id}", f"{target.id}: {note}")
        return ReadyTarget(
            id=target.id,
            target=target,
            endpoint=replace(endpoint, notes=(*endpoint.notes, *notes)),
            fingerprint=known,
            context=self.store.context(known.hash, self.mmlu_task.prompt_hash, known.facts),
            client=client,
            model=model,
        )

    def put_apart(self, one: ReadyTarget) -> ReadyTarget:
        """The same target, from now on asked while no other model of its server is.

        The caller makes sure that no request to that server is in flight.
        """
        self._turns[one.endpoint.base_url].apart = True
        return replace(one, endpoint=replace(one.endpoint, apart=True))

    def _client(self, target: Target, endpoint: Endpoint) -> TargetClient:
        turns = self._turns[endpoint.base_url]
        turns.apart = turns.apart or endpoint.apart
        return TargetClient(
            target.id,
            Client(
                endpoint.base_url,
                target=target.id,
                model=endpoint.model,
                key=endpoint.key or "",
                limits=ClientLimits(
                    connections=max(1, -(-target.max_connections // self.share)),
                    attempt_timeout=target.request_timeout,
                    max_retries=target.max_retries,
                ),
                max_tokens_field=endpoint.max_tokens_field,
                notify=functools.partial(self._notify, endpoint.base_url),
            ),
            endpoint.model,
            redactor=project_redactor(self.settings).and_also([endpoint.key or ""]),
            extra_body=request_fields(target, endpoint),
            turns=turns,
            cost=self._cost(target, endpoint),
            offer=endpoint.offer,
        )

    def _cost(self, target: Target, endpoint: Endpoint) -> TargetCost | None:
        if self.cost_limit is None or endpoint.offer is None:
            return None
        if endpoint.offer.dearest is None:
            raise ConfigError(
                "its price is not known, so --max-cost can't be kept",
                target=target.id,
                remedy="choose a model that OpenRouter lists with a price, or leave --max-cost out",
            )
        return TargetCost(target.id, endpoint.offer.dearest, self.cost_limit)

    def _answers_alike(self, model: Model, kept: str, endpoint: Endpoint) -> bool:
        with asking(endpoint.base_url, alone=endpoint.apart):
            return answers_alike(
                model,
                self.store.some_answers_under(kept, ADOPTED_BY),
                self.store,
                self.mmlu_task,
                self.logs,
                temperature=self.settings.temperature,
            )

    def _notify(self, url: str, topic: str, line: str) -> None:
        # Base and adapter have one server, and each process has its own clients of it. A line
        # that can't be shown ends no request.
        with suppress(CapgateError):
            self.tell(f"{topic} {url}", line)
