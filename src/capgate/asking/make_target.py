"""A target made ready to be asked, whole and in one step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from capgate.asking.adoption import ADOPTED_BY, answers_alike
from capgate.asking.cost_limit import CostLimit, TargetCost
from capgate.asking.endpoint_clients import EndpointClients, Lane, Ways
from capgate.asking.fingerprint import (
    Fingerprint,
    answer_format,
    as_kept,
    fingerprint,
    request_fields,
)
from capgate.asking.outcome import Outcome, QuestionTask
from capgate.asking.ready_target import ReadyTarget
from capgate.asking.shared import SharedAsking
from capgate.asking.stored_target import stored_target
from capgate.asking.target_client import TargetClient
from capgate.asking.weights import with_weights
from capgate.benchmarks.benchmark import Benchmark
from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.pacing import ModelTurns
from capgate.common.errors import ConfigError
from capgate.config.secrets import project_redactor
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.serving.addresses import Address
from capgate.serving.endpoint import Endpoint
from capgate.serving.replicas import proven_alike
from capgate.serving.sharing import asking
from capgate.store.answer_rows import Context
from capgate.store.answer_store import Store


@dataclass
class TargetMaker:
    """Makes the targets of one process of a run ready to be asked.

    Attributes:
        store: Where answers and earlier looks at servers are kept.
        settings: The run's settings.
        benchmark: What is asked.
        run: The run's id.
        ask_one: Asks one model some questions whose answers are not stored.
        share: Into how many processes a target's connections are divided.
        cost_limit: What the run may spend, where it is bounded.
        tell: Shows a line once in the run: takes its topic and the line.
        post: Has the main thread call a function later.
        shared: The clients of this process.
    """

    store: Store
    settings: Settings
    benchmark: Benchmark
    run: str
    ask_one: Callable[[QuestionTask], dict[str, Outcome]]
    share: int
    cost_limit: CostLimit | None
    tell: Callable[[str, str], None]
    post: Callable[[Callable[[], object]], None]
    shared: SharedAsking

    def make(self, target: Target, endpoint: Endpoint) -> ReadyTarget:
        """Makes a target ready to be asked.

        Raises:
            ConfigError: Its server can't do what the target asks for, or its price is not
                known where the run's cost is bounded.
        """
        client = self._client(target, endpoint)
        notes = self._notes(target)
        known = self._known(target, endpoint, client, notes.append)
        alike = [
            self._known(target, other, client, lambda _: None)
            for other in endpoint.others
            if proven_alike(other, endpoint)
        ]
        known = self._one_of([known, *alike])
        for note in notes:
            self.tell(f"weights of {target.id}", f"{target.id}: {note}")
        return ReadyTarget(
            id=target.id,
            target=target,
            endpoint=replace(endpoint, notes=(*endpoint.notes, *notes)),
            fingerprint=known,
            context=self._context(known),
            client=client,
        )

    def _context(self, known: Fingerprint) -> Context:
        return self.store.context(known.hash, self.benchmark.prompt_hash, known.facts)

    def _one_of(self, alike: Sequence[Fingerprint]) -> Fingerprint:
        """The fingerprint of endpoints that serve the same weights: the one that was kept first.

        An answer stands for the weights, not for the machine that gave it. So the answers that
        were kept under one of them count under each, and the order of the endpoints says nothing.
        """
        by_context = {self._context(one).id: one for one in alike}
        if len(by_context) == 1:
            return alike[0]
        first = by_context[self.store.oldest(by_context)]
        for other in by_context.values():
            if other is not first:
                self.store.take_over(other.hash, first.hash, first.facts)
                self.store.take_over(first.hash, other.hash, other.facts)
        return first

    def _known(
        self,
        target: Target,
        endpoint: Endpoint,
        client: TargetClient,
        say: Callable[[str], None],
    ) -> Fingerprint:
        """The fingerprint under which the store has the answers of one endpoint."""
        known = with_weights(
            fingerprint(target, endpoint, self.settings, self.benchmark),
            endpoint,
            self.store,
            prompt=self.benchmark.prompt_hash,
            run=self.run,
            adopt=lambda kept: self._answers_alike(client, kept, endpoint),
            say=say,
        )
        known, outdated = as_kept(known, self.store, self.benchmark.prompt_hash)
        for line in outdated:
            say(line)
        return known

    def from_store(self, target: Target) -> ReadyTarget:
        """A target as the store knows it; it can't be asked.

        Raises:
            MissingAnswersError: No run asked it.
        """
        found = stored_target(target, self.store, self.settings, self.benchmark)
        endpoint = replace(found.endpoint, notes=(*self._notes(target), *found.notes))
        for note in endpoint.notes:
            self.tell(f"weights of {target.id}", f"{target.id}: {note}")
        return ReadyTarget(
            id=target.id,
            target=target,
            endpoint=endpoint,
            fingerprint=found.fingerprint,
            context=self.store.context(
                found.fingerprint.hash, self.benchmark.prompt_hash, found.fingerprint.facts
            ),
            client=TargetClient(
                target.id,
                self._http_client(target, endpoint),
                endpoint.model,
                redactor=project_redactor(self.settings),
            ),
        )

    def _notes(self, target: Target) -> list[str]:
        if target.answer_by == "loglikelihood":
            return [
                "its answer is the letter with the highest log-likelihood behind a text "
                "(prompt_format: completion, answer_by: loglikelihood); it generates nothing"
            ]
        if target.prompt_format == "completion":
            return ["it is asked to go on with a text (prompt_format: completion), not in a chat"]
        if target.answer_format == answer_format(target, self.benchmark):
            return []
        name = self.benchmark.name
        return [f"its answers to {name} are not constrained, since {name} has no form for them"]

    def put_apart(self, one: ReadyTarget) -> ReadyTarget:
        """The same target, from now on asked while no other model of its server is.

        The caller makes sure that no request to that server is in flight.
        """
        for endpoint in (*one.endpoint.all, *one.client.live):
            self.shared.turns(endpoint.base_url).apart = True
        others = tuple(replace(other, apart=True) for other in one.endpoint.others)
        return replace(one, endpoint=replace(one.endpoint, apart=True, others=others))

    def _client(self, target: Target, endpoint: Endpoint) -> TargetClient:
        at_once = target.max_connections
        if endpoint.place:
            several = tuple(_at(one) for one in endpoint.all)
            client = self.shared.client(
                (target.id, at_once, several), lambda: self._clients(target, endpoint)
            )
        else:
            at = (target.id, at_once, *_at(endpoint))
            client = self.shared.client(at, lambda: self._http_client(target, endpoint))
        keys = [one.key or "" for one in endpoint.all]
        keys += [one.key or "" for one in endpoint.absent]
        return TargetClient(
            target.id,
            client,
            endpoint.model,
            redactor=project_redactor(self.settings).and_also(keys),
            extra_body=request_fields(target, endpoint, self.benchmark),
            logprobs=target.logprobs,
            turns=None if endpoint.place else self._turns(endpoint),
            cost=self._cost(target, endpoint),
            offer=endpoint.offer,
            completes=target.prompt_format == "completion",
            likeliest_of=self.benchmark.letters if target.answer_by == "loglikelihood" else "",
        )

    def _turns(self, endpoint: Endpoint) -> ModelTurns:
        turns = self.shared.turns(endpoint.base_url)
        turns.apart = turns.apart or endpoint.apart
        return turns

    def _clients(self, target: Target, first: Endpoint) -> EndpointClients:
        """The clients of a target's endpoints; a request that fails is put to another one."""
        limits = self._limits(target)

        def lane(endpoint: Endpoint) -> Lane:
            client = self._http_client(target, endpoint, replace(limits, max_retries=0))
            address = Address(endpoint.base_url, endpoint.key, endpoint.place)
            return Lane(address, endpoint, client, self._turns(endpoint))

        def notify(topic: str, line: str) -> None:
            self.post(lambda: self.tell(topic, line))

        return EndpointClients(first, limits, Ways(lane, self.shared.readmit, notify))

    def _limits(self, target: Target) -> ClientLimits:
        return ClientLimits(
            connections=max(1, -(-target.max_connections // self.share)),
            attempt_timeout=target.request_timeout,
            max_retries=target.max_retries,
        )

    def _http_client(
        self, target: Target, endpoint: Endpoint, limits: ClientLimits | None = None
    ) -> Client:
        return Client(
            endpoint.base_url,
            target=target.id,
            model=endpoint.model,
            key=endpoint.key or "",
            limits=limits or self._limits(target),
            max_tokens_field=endpoint.max_tokens_field,
            prompt_format=endpoint.prompt_format,
            notify=functools.partial(self._notify, endpoint.base_url),
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

    def _answers_alike(self, client: TargetClient, kept: str, endpoint: Endpoint) -> bool:
        with asking(endpoint.base_url, alone=endpoint.apart):
            return answers_alike(
                client,
                self.store.some_answers_under(kept, ADOPTED_BY),
                self.store,
                self.ask_one,
                benchmark=self.benchmark,
            )

    def _notify(self, url: str, topic: str, line: str) -> None:
        # Base and adapter have one server, and each process has its own clients of it.
        self.post(lambda: self.tell(f"{topic} {url}", line))


def _at(endpoint: Endpoint) -> tuple[str, str, str | None]:
    """What tells an endpoint from others of a target."""
    return endpoint.base_url, endpoint.model, endpoint.key
